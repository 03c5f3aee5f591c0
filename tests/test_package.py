"""The wheel works outside the checkout: built, installed beside other packages, run in an empty folder."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import import_runs
from analysis.advice import Source, next_steps
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.report import __main__ as report_command
from analysis.schemas.__main__ import schemas
from analysis.serve import site
from harness.records.command_line import COMMAND, CommandParser, as_typed, installed_names
from harness.sweep import __main__ as sweep_command
from tests import ROOT
from tests.small_sweeps import SMALL

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
UV = shutil.which("uv")


def build(folder: Path) -> None:
    """The wheel, installed into an environment that sees the packages of this one, but not this checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def uv(*words: str) -> None:
        done = subprocess.run([str(UV), *words], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr

    uv("build", "-q", "--wheel", "--out-dir", str(folder / "dist"), str(ROOT))
    uv("venv", "-q", "--python", sys.executable, str(folder / "venv"))
    (wheel,) = (folder / "dist").glob("*.whl")
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # Of a folder that a .pth adds no .pth is read, so the editable install of the checkout stays away.
    (packages / "stack.pth").write_text(sysconfig.get_path("purelib") + "\n")
    uv("pip", "install", "-q", "--offline", "--no-deps", "--python", str(folder / "venv"), str(wheel))
    (folder / "empty").mkdir()


@pytest.fixture(scope="session")
def installed(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    if UV is None:
        pytest.skip("needs uv")
    return made_once("installed", build)


@pytest.fixture
def run(installed: Path, data_cache: Path) -> Callable[..., str]:
    """Runs a command of the environment in the empty folder and returns what it printed."""

    def act(*words: str) -> str:
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "XLA_FLAGS")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        done = subprocess.run(
            [str(installed / "venv" / "bin" / words[0]), *words[1:]],
            cwd=installed / "empty",
            env=environment | {"SCALING_CACHE": str(data_cache), "CI": "true"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return act


def test_a_sweep_and_a_fit_in_an_empty_folder(run: Callable[..., str], installed: Path) -> None:
    empty = installed / "empty"
    code = "import harness, analysis, sweeps; print(*(m.__file__ for m in (harness, analysis, sweeps)))"
    assert str(ROOT) not in run("python", "-c", code)
    assert "12 to train" in run("scaling-sweep", "+grid=smoke", "data=synthetic", "dry_run=true")
    assert list(empty.iterdir()) == []
    trained = run("scaling-sweep", *SMALL, "grid.rungs=[16]", "launcher.n_workers=1")
    assert "report: results/smoke/report.html" in trained
    record = json.loads((empty / "results" / "smoke" / "sweep.json").read_text())
    assert record["provenance"]["code_revision"] == f"v{PROJECT['version']}"
    assert "1 finished" in run("scaling-status", "results/smoke")
    shutil.copy(ROOT / "notebooks" / "losses.csv", empty)
    mapping = "N=params,D=tokens,loss=val_loss"
    fitted = run("scaling-fit", "losses.csv", "--map", mapping, "--resamples", "0", "--json", "fit.json")
    assert fitted.startswith("parametric chinchilla")
    assert json.loads((empty / "fit.json").read_text())["params"]["E"] > 0


@pytest.mark.slow
@pytest.mark.skipif(UV is None, reason="needs uv")
def test_a_fresh_environment_gets_all_that_a_sweep_and_a_fit_need(tmp_path: Path) -> None:
    """The wheel with its dependencies, from the index or uv's cache: nothing of this environment is seen."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "SCALING_CACHE"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"CI": "true", "SCALING_CACHE": str(tmp_path / "cache")}
    empty, venv = tmp_path / "empty", tmp_path / "venv"
    empty.mkdir()

    def call(*words: str) -> str:
        done = subprocess.run(words, cwd=empty, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call(str(UV), "build", "-q", "--wheel", "--out-dir", str(tmp_path / "dist"), str(ROOT))
    call(str(UV), "venv", "-q", "--python", sys.executable, str(venv))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    call(str(UV), "pip", "install", "-q", "--python", str(venv), str(wheel))
    assert "pytest" not in call(str(UV), "pip", "list", "--python", str(venv))
    assert "report: results/smoke/report.html" in call(str(venv / "bin" / "scaling-sweep"), "+grid=smoke")
    assert (empty / "results" / "smoke" / "report.html").stat().st_size > 5e5
    shutil.copy(ROOT / "notebooks" / "losses.csv", empty)
    mapping = "N=params,D=tokens,loss=val_loss"
    fitted = call(str(venv / "bin" / "scaling-fit"), "losses.csv", "--map", mapping, "--resamples", "20")
    assert fitted.startswith("parametric chinchilla")


# Distributions of modules by another name that this environment may lack.
DISTRIBUTIONS = {"mlflow": "mlflow-skinny", "tensorboardX": "tensorboardx"}
# Folders and files that are imported only by those who installed an extra.
ON_DEMAND = (
    "harness/data/curation/",
    "harness/launch/ray/",
    "harness/launch/slurm/",
    "harness/bench/torch_decoder",
)


def declared(requirements: Iterable[str]) -> set[str]:
    """Names of distributions, spelled as PEP 503 has it."""
    names = (re.match(r"[\w.-]+", each) for each in requirements)
    return {normal_name(found[0]) for found in names if found}


def normal_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the top-level name of each third-party import, and whether it is made with the module."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in (name.partition(".")[0] for name in names):
            if name not in sys.stdlib_module_names and name not in {"harness", "analysis", "sweeps"}:
                yield name, node in tree.body


def test_every_import_is_of_a_declared_dependency() -> None:
    core = declared(PROJECT["dependencies"])
    extra = declared(each for parts in PROJECT["optional-dependencies"].values() for each in parts)
    known = packages_distributions()
    wrong, n_imports = set(), 0
    for path in (
        each for folder in ("harness", "analysis", "sweeps") for each in (ROOT / folder).rglob("*.py")
    ):
        file = path.relative_to(ROOT).as_posix()
        for name, at_once in imports_of(path):
            n_imports += 1
            found = {normal_name(each) for each in known.get(name, [DISTRIBUTIONS.get(name, name)])}
            needed = core if at_once and not file.startswith(ON_DEMAND) else core | extra
            if not found & needed:
                wrong.add(f"{file} imports {name} of {', '.join(sorted(found))}, which is not declared")
    assert sorted(wrong) == []
    assert n_imports > 500


def test_data_and_schemas_lie_in_the_wheel(run: Callable[..., str]) -> None:
    code = """
import json
from pathlib import Path
import analysis, harness, sweeps
roots = [Path(module.__file__).parent for module in (analysis, harness, sweeps)]
print(json.dumps([path.relative_to(root.parent).as_posix() for root in roots for path in root.rglob("*")]))
"""
    there = set(json.loads(run("python", "-c", code)))
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "analysis", "harness", "sweeps"], capture_output=True, text=True
    ).stdout.split()
    assert [path for path in tracked if path not in there] == []
    assert {f"analysis/schemas/{name}" for name in schemas()} <= there
    assert {"analysis/py.typed", "harness/py.typed"} <= there


@pytest.mark.parametrize("script", SCRIPTS)
def test_installed_commands_are_those_of_python_m(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help of an installed command shows what to type for it, in the usage and in the examples."""
    module, _, function = SCRIPTS[script].partition(":")
    main: Callable[[list[str]], int] = getattr(import_module(module), function)
    monkeypatch.setattr(sys, "argv", [f"/home/me/bin/{script}"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {script} ")
    assert f"example:\n  {script} " in said
    assert f"python -m {module.removesuffix('.__main__')}" not in said.partition("example:")[2]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed commands on the path, by one of which this process was started."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for script in SCRIPTS:
        (folder / script).touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(folder / "scaling-import")])
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("UV", raising=False)
    return folder


def test_commands_are_named_as_they_run_here(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name on the path, else by their file; by the same Python if nothing is installed for them."""
    assert installed_names() == {
        target.partition(":")[0].removesuffix(".__main__"): script for script, target in SCRIPTS.items()
    }
    text = "python -m analysis.fit A && python -m harness.sweep.x, python -m harness.bench; python -m pip"
    python = shlex.quote(sys.executable)
    beyond = f"{python} -m harness.sweep.x, {python} -m harness.bench; python -m pip"
    assert as_typed(text) == f"scaling-fit A && {beyond}"
    monkeypatch.setenv("UV", "/bin/uv")
    assert as_typed(text) == f"{commands}/scaling-fit A && {beyond}"
    monkeypatch.delenv("UV")
    monkeypatch.setenv("PATH", "")
    assert as_typed(text) == f"{commands}/scaling-fit A && {beyond}"
    monkeypatch.setattr(sys, "argv", ["/home/me/harness/sweep/__main__.py"])
    assert as_typed(text) == text


@pytest.mark.usefixtures("commands")
def test_next_steps_of_installed_commands_are_installed_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.csv"
    log.write_text("Step,val/loss\n" + "".join(f"{step},{4 - step / 1000}\n" for step in (100, 200, 300)))
    out = tmp_path / "runs.csv"
    known = ["--params", "1e6", "--tokens-per-step", "512", "--loss", "val/loss"]
    assert import_runs.main([str(log), *known, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"next: scaling-fit {out}" in said
    assert "      scaling-curves " in said
    assert report_command.main([str(out)]) == 2
    assert f"type scaling-fit {out} --report" in capsys.readouterr().err
    source = Source("losses.csv", is_sweep=False, largest=1e20)
    (step,) = next_steps([FitWarning(WarningCode.FEW_SIZES, "two")], source)
    assert step.startswith("to do about few_sizes: scaling-design losses.csv --next")
    assert (
        "<code>scaling-status</code> prints the same table"
        in site.page("live.html.j2", name="a").body.decode()
    )


# Where a command may be written out as `python -m`: what CommandParser shows, errors, and the advice that
# reports hold; all of these are spelled for the reader where they are printed.
SPELLED_LATER = {"EXAMPLE", "example", "HOW_MADE"}


def test_no_next_step_is_written_for_one_way_to_start() -> None:
    wrong = []
    for path in [*(ROOT / "harness").rglob("*.py"), *(ROOT / "analysis").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and COMMAND.search(node.value):
                around = [node]
                while around[-1] in parents:
                    around.append(parents[around[-1]])
                if not any(is_spelled_later(each) for each in around) and path.name != "advice.py":
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


def is_spelled_later(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Name) and node.targets[0].id in SPELLED_LATER
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "CommandParser"
    return isinstance(node, ast.Expr | ast.Raise)  # A docstring, or an error.


def parser_of_an_installed_command(monkeypatch: pytest.MonkeyPatch) -> CommandParser:
    monkeypatch.setattr(sys, "argv", ["scaling-fit"])
    made = CommandParser("analysis.fit", "Fit.", "python -m analysis.fit TABLE")
    made.add_argument("table", type=Path)
    made.add_argument("--law", choices=("joint", "chinchilla"))
    return made


def test_completion_of_an_installed_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab", reason="needs shtab")
    parser = parser_of_an_installed_command(monkeypatch)
    with pytest.raises(SystemExit, match=r"^0$"):
        parser.answer(["--print-completion", "bash"], lambda _: 0)
    printed = capsys.readouterr().out
    assert "_shtab_compgen_files" in printed
    for typed, offered in ((["--la"], "--law"), (["--law", "ch"], "chinchilla")):
        words = f"COMP_WORDS=(scaling-fit {' '.join(typed)}); COMP_CWORD={len(typed)}"
        script = [printed, words, "_shtab_scaling_fit", "echo ${COMPREPLY[@]}"]
        done = subprocess.run(["bash", "-c", "\n".join(script)], capture_output=True, text=True)
        assert done.stdout.split() == [offered]


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Types a beginning and the Tab key into a bash that has the completion; returns the line after it."""
    pytest.importorskip("shtab", reason="needs shtab")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(sys, "argv", ["scaling-sweep"])
        with pytest.raises(SystemExit, match=r"^0$"):
            sweep_command.command_parser().answer(["--print-completion", "bash"], lambda _: 0)
    folder = tmp_path_factory.mktemp("completion")
    (folder / "sweep.json").touch()
    # Ctrl-X p prints the line as bash holds it.
    show = """bind -x '"\\C-xp": printf "<%s>" "$READLINE_LINE"'"""
    (folder / "rc").write_text(
        f"{printed.getvalue()}\n{show}\nbind 'set enable-bracketed-paste off'\nPS1=@\n"
    )
    # Not pty.fork: this process may have started JAX, whose threads no fork has.
    terminal, screen = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", "rc", "-i"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TERM": "dumb", "INPUTRC": "/dev/null"},
        stdin=screen,
        stdout=screen,
        stderr=screen,
        start_new_session=True,
    )
    os.close(screen)

    def until(sign: str) -> str:
        said = ""
        while sign not in said:
            ready, _, _ = select.select([terminal], [], [], 20)
            assert ready, said
            said += os.read(terminal, 65536).decode()
        return said

    def act(line: str) -> str:
        os.write(terminal, f"{line}\t\x18p\x15".encode())
        return until(">").rpartition("<")[2].partition(">")[0]

    until("@")
    yield act
    os.close(terminal)
    shell.wait()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("+grid=sm", "+grid=smoke "),
        ("+gr", "+grid="),
        ("+grid=smoke bud", "+grid=smoke budget="),
        ("+grid=smoke model.seq", "+grid=smoke model.seq_len="),
        ("+grid=smoke --cfg launcher=sl", "+grid=smoke --cfg launcher=slurm "),
        ("data=synthetic dry", "data=synthetic dry_run="),
        ("--fr", "--from "),
        ("--from sw", "--from sweep.json "),
        ("--from sweep.json launcher.n_w", "--from sweep.json launcher.n_workers="),
    ],
)
def test_bash_completes_grids_and_keys(completed: Callable[[str], str], typed: str, line: str) -> None:
    assert completed(f"scaling-sweep {typed}") == f"scaling-sweep {line}"


def test_without_shtab_completion_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    parser = parser_of_an_installed_command(monkeypatch)
    assert parser.answer(["--print-completion", "zsh"], lambda _: 0) == 2
    assert "error: completion needs the package shtab" in capsys.readouterr().err


def test_citation_and_changes_are_of_this_version() -> None:
    citation: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "CITATION.cff").read_text())
    required = {"cff-version", "message", "title", "authors"}
    assert required <= set(citation)
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    changes = (ROOT / ".github" / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", changes, re.MULTILINE)
    assert versions[:2] == ["Unreleased", PROJECT["version"]]
