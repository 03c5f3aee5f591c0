"""Rules over the source itself: who imports whom, where files live, how long they are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for package in ("harness", "analysis") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").glob("*.py"))
MAX_FILE, MAX_FUNCTION = 300, 60
TRAINING = {"jax", "jaxlib", "flax", "optax", "orbax", "hydra", "omegaconf"}
CONFIGURATION = {"hydra", "omegaconf"}
FOLDERS = {"harness", "analysis", "sweeps", "notebooks", "tests", "results"}
FILES = {"pyproject.toml", "README.md", "LICENSE", "uv.lock"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """Dotted names of every import in a file, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            assert node.module
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def in_package(name: str) -> list[Path]:
    return [path for path in MODULES if path.is_relative_to(ROOT / name)]


@pytest.mark.parametrize("path", in_package("analysis"), ids=name_of)
def test_analysis_knows_of_the_harness_only_its_tables(path: Path) -> None:
    assert not packages(path) & TRAINING
    own = {name for name in imported(path) if name.split(".")[0] == "harness"}
    assert {name for name in own if not f"{name}.".startswith("harness.records.")} == set()


@pytest.mark.parametrize("path", in_package("harness"), ids=name_of)
def test_harness_calls_the_analysis_in_one_place(path: Path) -> None:
    assert ("analysis" in packages(path)) == (name_of(path) == "harness/conclude.py")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_and_its_settings_know_hydra(path: Path) -> None:
    if name_of(path) not in ("harness/sweep.py", "harness/config.py"):
        assert not packages(path) & CONFIGURATION


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_figures_and_reports_draw(path: Path) -> None:
    name = name_of(path)
    draws = name.startswith(("analysis/plots/", "analysis/report"))
    if not draws:
        assert "matplotlib" not in packages(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_figures_and_reports_are_leaves(path: Path) -> None:
    """A fit imports neither; the end of a sweep asks for the report."""
    name = name_of(path)
    leaves = ("analysis/plots/", "analysis/report", "analysis/summary.py")
    if name.startswith(leaves) or name == "harness/conclude.py":
        return
    assert not [m for m in imported(path) if m.startswith(("analysis.plots", "analysis.report"))]


def test_the_analysis_starts_without_the_training_stack() -> None:
    """The imports of the commands, followed to their ends."""
    code = (
        "import sys, analysis.fit, analysis.study, analysis.report\n"
        f"print(sorted({TRAINING!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_driver_does_not_load_the_training_stack() -> None:
    """Workers train; the command itself starts and ends without JAX, which takes seconds to load."""
    code = (
        "import sys, harness.sweep, harness.status\nprint({'jax', 'flax', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def tracked() -> list[str]:
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if done.returncode:  # An unpacked archive: what lies there, without what a run leaves behind.
        return [name_of(path) for path in ROOT.rglob("*") if path.is_file()]
    return done.stdout.split()


def test_the_top_level_is_fixed() -> None:
    names = [Path(name) for name in tracked()]
    assert {path.parts[0] for path in names if len(path.parts) > 1 and path.parts[0][0] != "."} <= FOLDERS
    assert {path.name for path in names if len(path.parts) == 1 and path.name[0] != "."} <= FILES


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=name_of)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, signature included; documentation does not count."""
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_stay_short(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text()))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: body_length(node) for node in functions}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION} == {}


def test_every_module_has_a_docstring() -> None:
    assert [name_of(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_catch_all_module() -> None:
    assert not [
        name_of(path) for path in MODULES if path.stem in ("utils", "util", "helpers", "common", "misc")
    ]
