"""What README shows can be typed, and what it links is there."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import statistics
import sys
import tomllib
from pathlib import Path

import pytest

from analysis.replications.__main__ import main as replications_main
from harness.cancel import main as cancel_main
from harness.config.settings import load
from harness.sweep.record import read_record
from tests import ROOT, preloaded

TEXT = (ROOT / "README.md").read_text()
LINKS = sorted(set(re.findall(r"\]\(([^)\s]+)\)", TEXT)))
# Flags of the sweep command that are no overrides.
FLAGS = {"--cfg", "--help"}


def fenced() -> list[str]:
    """Commands in bash fences, continuation lines joined, each part of `a && b` by itself."""
    blocks = re.findall(r"^```bash\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [part.strip() for line in lines if line.strip() for part in line.split("&&")]


def inline() -> list[str]:
    return re.findall(r"`((?:uv run [^`]*)?python -m [^`]+)`", TEXT)


COMMANDS = sorted(set(fenced() + inline()))
# What README shows behind a command is what the command prints.
PRINTED = {
    command.replace("\\\n", " ").strip(): lines
    for command, lines in re.findall(r"^```bash\n([^`]*)^```\n\n```text\n([^`]*)^```", TEXT, re.MULTILINE)
}
UV = "uv run --frozen "
FEWER_TOKENS = "data.synthetic_tokens=4000000"  # than a plan without it draws, in 4 s
TOKENS = 4_000_000_000  # of the reader's own, as the grids for eight GPUs ask for
# Commands that end in seconds and write nothing: a plan, a look at committed results, a fit.
RUNNABLE = [
    command
    for command in COMMANDS
    if (
        "dry_run=true" in command
        or re.search(r"-m (analysis\.(fit|summary|emergence|same_law)|harness\.status) ", f"{command} ")
    )
    and "--watch" not in command
]
# `python -m`, with the second in which a plan measures the machine made short.
AT_ONCE = """
import sys
from harness.plan import speed
from tests import preloaded
speed.matmul_rate.__defaults__ = (0.02,)
preloaded.run_as_main("-m", *sys.argv[1:])
"""
SWEEPS = [command for command in COMMANDS if "-m harness.sweep" in command]


def words_after(command: str, word: str) -> list[str]:
    words = shlex.split(command, comments=True)
    return words[words.index(word) + 1 :]


def test_there_is_something_to_check() -> None:
    assert len(fenced()) >= 5
    assert len(SWEEPS) >= 3
    assert len(LINKS) >= 2


OWN = re.findall(r"-m ((?:harness|analysis)\.\w+)", " ".join(COMMANDS))


@functools.cache
def help_of(module: str) -> str:
    """What the program says of its options; fails where it cannot be run."""
    done = preloaded.run([sys.executable, "-m", module, "--help"], timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_programs_and_modules_that_exist(command: str) -> None:
    words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
    assert words[0] in ("python", "pip", "uv", "git", "cd")
    if "-m" in words:
        module = words[words.index("-m") + 1]
        if module in OWN:
            options = [word for word in words_after(command, module) if word.startswith("--")]
            assert [word for word in options if word not in help_of(module)] == []
        else:
            assert importlib.util.find_spec(module) is not None, f"no module {module}"


@pytest.mark.parametrize("command", SWEEPS)
def test_sweeps_compose(command: str) -> None:
    overrides = [word for word in words_after(command, "harness.sweep") if word not in FLAGS]
    if "--from" in overrides:
        at = overrides.index("--from")
        load(overrides[:at] + overrides[at + 2 :], read_record(str(ROOT / overrides[at + 1])).config)
    else:
        load(overrides)


def test_uv_commands_name_groups_and_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups, extras = (
        {word for command in COMMANDS for word in re.findall(rf"--{option} (\S+)", command)}
        | set(re.findall(rf"`--{option} (\S+)`", TEXT))
        for option in ("group", "extra")
    )
    assert groups
    assert groups <= set(project["dependency-groups"])
    assert {"cuda12", "tpu", "slurm", "ray"} <= extras
    assert extras <= set(project["project"]["optional-dependencies"])


def test_overrides_in_running_text_compose() -> None:
    """`key=value` in the text; words in capitals stand for the reader's own."""
    marked = re.findall(r"`([^`\n]+)`", TEXT)
    found = [
        words for text in marked if re.fullmatch(r"(\+?[a-z_.]+=\S+ ?)+", text) for words in [text.split()]
    ]
    assert found
    for words in found:
        grid = [] if any(word.startswith("+grid=") for word in words) else ["+grid=chinchilla"]
        load([*grid, *(re.sub(r"=[A-Z_]+$", "=x", word) for word in words)])


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link: str) -> None:
    if link.startswith(("http://", "https://")):
        assert re.fullmatch(r"https?://[\w.-]+(/\S*)?", link)
    elif link.startswith("#"):
        titles = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert link[1:] in anchors
    else:
        assert (ROOT / link.split("#")[0]).exists()


@pytest.mark.parametrize(("group", "digits"), [("hidden", 4), ("embed", 3)])
def test_the_learning_rates_quoted_are_those_of_the_committed_grid(group: str, digits: int) -> None:
    fits = json.loads((ROOT / "results/lr/fits.json").read_text())
    (rule,) = next(g for g in fits["learning_rate"]["groups"] if g["group"] == group)["rules"]
    rates = [f"{value:.{digits}f}" for value in rule["rate_64_interval"]]
    powers = [f"{value:.2f}" for value in (rule["exponent"], *rule["exponent_interval"])]
    quoted = (
        f"{rule['rate_64']:.{digits}f} [{', '.join(rates)}] ∝ d_model^{powers[0]} [{', '.join(powers[1:])}]"
    ).replace("-", "−")
    assert quoted in " ".join((ROOT / "harness/README.md").read_text().split())


def test_every_command_runs_in_the_locked_environment() -> None:
    """Without `uv run` a newcomer's Python has none of the packages."""
    bare = [command for command in fenced() if command.startswith("python")]
    assert bare == []


@pytest.mark.parametrize("command", RUNNABLE)
def test_commands_that_end_in_seconds_run_as_printed(command: str, data_cache: Path, tmp_path: Path) -> None:
    """`uv run` would only choose the interpreter that runs this test; FOLDER are the reader's tokens."""
    words = shlex.split(command.removeprefix(UV).removeprefix("python -m "))
    if "data.path=FOLDER" in words:
        # A file with a hole takes no room on the disk, and reads as zeros.
        with (tmp_path / "tokens.bin").open("wb") as file:
            file.truncate(TOKENS * 2)
        words[words.index("data.path=FOLDER")] = f"data.path={tmp_path}"
    if "data=synthetic" in words:
        words.append(FEWER_TOKENS)
    environment = dict(os.environ, SCALING_CACHE=str(data_cache))
    done = preloaded.run(
        [sys.executable, "-c", AT_ONCE, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line for line in PRINTED.get(command, "").splitlines() if line not in printed] == []


# Commands that are not run as printed, and why: the test that runs the like, or what a run would take.
NOT_RUN = {
    r"^(pip|uv tool|uv build)": "tests/test_package.py builds the wheel, installs it and runs its commands",
    r"pytest -n 2": "it would run itself",
    r"\+grid=smoke( |$)(?!.*dry_run)": "tests/harness/sweep/test_stored_smoke.py trains its cells",
    r"harness.sweep \+grid=\w+( (results_dir|budget)=\S+)*$": "trains for minutes to hours; composed above",
    r"harness.sweep .*(FOLDER|WEB|launcher=)": "needs text or machines of the reader; composed above",
    r"harness.data.curate": "tests/harness/data/test_curate.py curates a small corpus",
    r"harness.(sample|evaluate|export)": "tests/harness/test_sample.py and others use models of seconds",
    r"harness.bench": "tests/harness/bench/test_bench.py runs it in its smallest size",
    r"--watch|analysis.serve": "tests/harness/test_status.py looks once; they end with Ctrl-C",
    r"analysis.published": "needs published tables; tests/analysis/published/test_published.py",
    r"analysis.import_runs": "tests/analysis/test_import_runs.py imports an export of these columns",
}
IN_PROCESS = ("analysis.replications", "harness.cancel")


def test_every_command_is_run_or_it_is_said_why_not() -> None:
    decided = ("analysis.compare", "analysis.curves", "analysis.design", "analysis.plan")
    run = {
        command for command in COMMANDS if any(f"-m {each} " in command for each in (*IN_PROCESS, *decided))
    }
    left = [command for command in COMMANDS if command not in {*RUNNABLE, *run}]
    assert [command for command in left if not any(re.search(each, command) for each in NOT_RUN)] == []
    assert [each for each in NOT_RUN if not any(re.search(each, command) for command in left)] == []
    for path in re.findall(r"tests/\S+[.]py", " ".join(NOT_RUN.values())):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("module", IN_PROCESS)
def test_commands_that_write_run_as_printed_on_a_copy(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = (each for each in COMMANDS if f"-m {module} " in each)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "chinchilla").mkdir(parents=True)
    shutil.copy(ROOT / "results/chinchilla/sweep.json", tmp_path / "results" / "chinchilla")
    (tmp_path / "results" / "replications").symlink_to(ROOT / "results" / "replications")
    main = replications_main if module == IN_PROCESS[0] else cancel_main
    assert main(words_after(command, module)) == 0
    assert capsys.readouterr().out.strip()
    assert len(list(tmp_path.glob("*.html"))) == (module == IN_PROCESS[0])


def test_what_commands_print_is_shown() -> None:
    assert PRINTED
    assert set(PRINTED) <= set(RUNNABLE)
    assert any("plan.device=" in command for command in PRINTED)


def python_blocks() -> list[str]:
    """The last of them needs a trained model, see tests/harness/test_front_door.py."""
    return re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_python_example_runs_as_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    block = next(each for each in python_blocks() if "import analysis" in each)
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "bounded" in printed
    assert "the laws that these rows cannot exclude are bounded 1.00" in printed


def sentences() -> list[str]:
    """Sentences of running text: no code, table, title or figure."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", TEXT, flags=re.DOTALL)
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("|", "#", "![")))
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    paragraphs = (re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n|\n- ", text))
    return [
        found for part in paragraphs for found in re.split(r'(?<=[.!?:])\s+(?=[A-Z`*\["])', part) if found
    ]


def test_sentences_are_short() -> None:
    lengths = [len(sentence.split()) for sentence in sentences()]
    assert statistics.median(lengths) <= 15
    assert [sentence for sentence in sentences() if len(sentence.split()) > 30] == []


def test_the_first_link_and_the_one_figure_open_the_live_report() -> None:
    assert re.search(r"\]\(([^)]+)\)", TEXT)[1] == "results/chinchilla/report.html"  # type: ignore[index]
    assert re.findall(r"!\[[^\]]*\]\([^)]+\)\]\(([^)]+)\)", TEXT) == ["results/chinchilla/report.html"]
    assert TEXT.count("![") == 1, "one figure"
