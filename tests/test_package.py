"""The wheel works outside the checkout: built, installed beside other packages, run in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.schemas.__main__ import schemas
from harness.records.command_line import CommandParser
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
