"""Rules over the source itself: floors of folders, who may import what, what stands at the top.

Each test looks at all modules and lists every offender in one message.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests import ROOT
from tests.conftest import LONG_MODULES

MODULES = sorted(path for package in ("harness", "analysis") for path in (ROOT / package).rglob("*.py"))
# The map of the house: imports between places go from a higher floor to a lower one. A place is a folder, or
# a file that stands flat at the top of its package: a command, or a part of the contract.
FLOORS = {
    "harness/records": 1,
    "harness/records/status": 2,
    "harness/recipe": 2,
    "harness/data/text": 2,
    "harness/data/tokens": 3,
    "harness/data/tasks": 3,
    "harness/data/curation": 3,
    "harness/data/streaming": 3,
    "harness/execution": 3,
    "harness/data": 4,
    "harness/model": 4,
    "harness/config": 4,
    "harness/track": 5,
    "harness/grid": 5,
    "harness/engine": 5,
    "harness/weights": 5,
    "harness/evaluate": 6,
    "harness/runs": 6,
    "harness/plan": 7,
    "harness/train": 7,
    "harness/aot": 8,
    "harness/launch": 8,
    "harness/launch/local": 9,
    "harness/launch/slurm": 10,
    "harness/launch/ray": 10,
    "harness/status.py": 11,
    "harness/cancel.py": 12,
    "harness/coordinate_check.py": 11,
    "harness/sample.py": 11,
    "harness/export.py": 11,
    "harness/sweep": 13,
    "harness/bench": 14,
    "harness/replicate": 14,
    "analysis/arrays.py": 0,
    "analysis/intervals.py": 1,
    "analysis/holm.py": 1,
    "analysis/laws": 1,
    "analysis/records": 1,
    "analysis/advice.py": 2,
    "analysis/tables": 2,
    "analysis/trackers": 3,
    "analysis/result.py": 2,
    "analysis/table_options.py": 3,
    "analysis/solve": 3,
    "analysis/cost.py": 1,
    "analysis/frontier.py": 3,
    "analysis/uncertainty": 4,
    "analysis/averaging": 4,
    "analysis/emergence/statistics": 3,
    "analysis/emergence": 4,
    "analysis/approaches": 5,
    "analysis/contest": 6,
    "analysis/plots": 6,
    "analysis/explorer": 8,
    "analysis/explorer/sections": 9,
    "analysis/curves": 7,
    "analysis/forecast": 7,
    "analysis/prediction": 7,
    "analysis/compare": 7,
    "analysis/learning_rate": 8,
    "analysis/study": 9,
    "analysis/report": 10,
    "analysis/replications": 11,
    "analysis/published/papers": 9,
    "analysis/published": 10,
    "analysis/bench": 10,
    "analysis/summary.py": 9,
    "analysis/schemas": 10,
    "analysis/same_law.py": 9,
    "analysis/fit.py": 11,
    "analysis/import_runs.py": 11,
    "analysis/plan": 11,
    "analysis/design": 11,
    "analysis/serve": 12,
    "analysis": 12,  # the front door, analysis/__init__.py
    "harness": 15,
}
# The analysis stands beside the harness: it sees its records alone. Only a sweep and the status of its
# runs see the analysis.
FROM_HARNESS = {"harness/records", "harness/records/status"}
TO_ANALYSIS = {"harness/sweep", "harness/status.py"}
# A plan names a run that a recipe can train, so it sees recipes and grids, which need no JAX.
PLANS = {"analysis/plan", "analysis/design"}
FOR_PLANS = {"harness/recipe", "harness/grid", "harness/config", "harness/execution", "harness/plan"}
TRAINING = {"jax", "jaxlib", "flax", "optax", "orbax", "hydra", "omegaconf"}
CONFIGURATION = {"hydra", "omegaconf"}
TOP_FOLDERS = {"harness", "analysis", "sweeps", "notebooks", "tests", "results"}
TOP_FILES = {"pyproject.toml", "README.md", "LICENSE", "uv.lock"}
MAX_FOLDER = 13  # files of one folder, __init__.py left out


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {module_of(path): path for path in MODULES}


@cache
def names_imported(path: Path, types: bool = True) -> frozenset[str]:
    """Dotted names of every import in a file, inside functions too; without those for types if asked."""
    nodes = list(ast.walk(tree(path)))
    if not types:
        guards = [n for n in nodes if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
        unseen = {id(node) for guard in guards for node in ast.walk(guard)}
        nodes = [node for node in nodes if id(node) not in unseen]
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in names_imported(path)}


def files_imported(path: Path) -> set[Path]:
    """Own files that a file imports at run time; of a module's names the module."""
    found = {FILES.get(name) or FILES.get(name.rpartition(".")[0]) for name in names_imported(path, False)}
    return {file for file in found if file is not None and file != path}


def place(path: Path) -> str:
    """Folder of a file, or the file itself at the top of its package."""
    folder = path.parent
    return name_of(path) if folder.parent == ROOT and path.name != "__init__.py" else name_of(folder)


def offenders(wrong: Iterable[object]) -> str:
    """All of them, one a line; empty where there are none."""
    return "\n".join(sorted(str(each) for each in wrong))


def cycle(graph: Mapping[str, set[str]]) -> str:
    """A cycle of the graph as text, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " → ".join(reversed(error.args[1]))
    return ""


def test_every_place_has_a_floor() -> None:
    assert offenders({place(path) for path in MODULES} ^ set(FLOORS)) == ""


def test_imports_go_down() -> None:
    """From a higher floor to a lower one, or inside a place."""
    wrong = [
        f"floor {FLOORS[place(path)]}, {name_of(path)}: floor {FLOORS[place(other)]}, {name_of(other)}"
        for path in MODULES
        for other in files_imported(path)
        if place(path).split("/")[0] == place(other).split("/")[0]
        if place(path) != place(other) and FLOORS[place(path)] <= FLOORS[place(other)]
    ]
    assert offenders(wrong) == ""


def test_no_cycle() -> None:
    """Neither among files nor among places."""
    files = {name_of(path): {name_of(other) for other in files_imported(path)} for path in MODULES}
    places: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        places[place(path)] |= {place(other) for other in files_imported(path)} - {place(path)}
    edges = sum(map(len, files.values()))
    print(f"{len(files)} files with {edges} imports, {len(places)} places; cycles: ", end="")
    found = (cycle(files), cycle(places))
    print(found if any(found) else "none")
    assert found == ("", "")


def test_no_relative_import() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert offenders(wrong) == ""


def test_no_import_is_a_string() -> None:
    """A module named in a string is an import that no reader and no type checker follows."""
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in ("import_module", "__import__"))
        or (isinstance(node, ast.Name) and node.id in ("import_module", "__import__"))
    ]
    assert offenders(wrong) == ""


def test_analysis_and_harness_meet_in_three_places() -> None:
    wrong = [
        f"{name_of(path)} imports {name_of(other)}"
        for path in MODULES
        for other in files_imported(path)
        if place(path).split("/")[0] != place(other).split("/")[0]
        if place(other) not in FROM_HARNESS
        and place(path) not in TO_ANALYSIS
        and not (place(path) in PLANS and place(other) in FOR_PLANS)
    ]
    assert offenders(wrong) == ""


def test_the_analysis_does_without_the_training_stack() -> None:
    wrong = [
        f"{name_of(path)}: {', '.join(packages(path) & TRAINING)}"
        for path in MODULES
        if path.is_relative_to(ROOT / "analysis") and packages(path) & TRAINING
    ]
    assert offenders(wrong) == ""


def test_only_the_settings_know_hydra() -> None:
    knowing = {place(path) for path in MODULES if packages(path) & CONFIGURATION}
    assert knowing == {"harness/config"}


def test_only_figures_and_reports_draw() -> None:
    drawing = {place(path) for path in MODULES if "matplotlib" in packages(path)}
    assert drawing == {"analysis/plots", "analysis/explorer", "analysis/explorer/sections", "analysis/report"}


def test_figures_and_reports_are_leaves() -> None:
    """A fit imports neither until a report is asked for; the end of a sweep asks for the report."""
    leaves = {
        "analysis/plots",
        "analysis/explorer",
        "analysis/explorer/sections",
        "analysis/report",
        "analysis/replications",
        "analysis/serve",
    }
    allowed = {*leaves, "analysis", "analysis/summary.py", "analysis/fit.py", "harness/sweep"}
    wrong = [
        f"{name_of(path)} imports {name_of(other)}"
        for path in MODULES
        for other in files_imported(path)
        if place(other) in leaves and place(path) not in allowed
    ]
    assert offenders(wrong) == ""


def loaded_by(modules: str, wanted: set[str]) -> str:
    """Which of the `wanted` packages a fresh interpreter has loaded after importing `modules`."""
    code = f"import sys, {modules}\nprint(sorted({wanted!r} & {{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_analysis_starts_without_the_training_stack() -> None:
    """The imports of the commands, followed to their ends."""
    assert loaded_by("analysis.fit, analysis.study.study, analysis.report.build", TRAINING) == "[]"


def test_a_fit_starts_without_figures() -> None:
    assert loaded_by("analysis.fit", {"matplotlib", "jinja2", "rich"}) == "[]"


def test_the_front_door_loads_nothing() -> None:
    """`import analysis` takes milliseconds; each name loads what it needs when it is first used."""
    assert loaded_by("analysis", {"numpy", "pandas", "scipy", "matplotlib", *TRAINING}) == "[]"


def test_the_driver_does_not_load_the_training_stack() -> None:
    """Workers train; the command itself starts and ends without JAX, which takes seconds to load."""
    assert loaded_by("harness.sweep.__main__, harness.status", {"jax", "flax", "matplotlib"}) == "[]"


def tracked() -> list[str]:
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if done.returncode:  # An unpacked archive: what lies there, without what a run leaves behind.
        return [name_of(path) for path in ROOT.rglob("*") if path.is_file()]
    return done.stdout.split()


def test_the_top_level_is_fixed() -> None:
    names = [Path(name) for name in tracked()]
    folders = {path.parts[0] for path in names if len(path.parts) > 1 and path.parts[0][0] != "."}
    files = {path.name for path in names if len(path.parts) == 1 and path.name[0] != "."}
    assert offenders((folders - TOP_FOLDERS) | (files - TOP_FILES)) == ""


def test_folders_stay_small() -> None:
    counts: dict[str, int] = defaultdict(int)
    for path in MODULES:
        counts[name_of(path.parent)] += path.name != "__init__.py"
    assert offenders(f"{name}: {count} files" for name, count in counts.items() if count > MAX_FOLDER) == ""


def test_every_module_has_a_docstring() -> None:
    assert offenders(name_of(path) for path in MODULES if not ast.get_docstring(tree(path))) == ""


def test_no_catch_all_module() -> None:
    names = ("utils", "util", "helpers", "common", "misc")
    assert offenders(name_of(path) for path in MODULES if path.stem in names) == ""


def test_tests_mirror_the_code() -> None:
    folders = {
        path.parent for top in ("harness", "analysis") for path in (ROOT / "tests" / top).rglob("test_*.py")
    }
    assert len(folders) > 20
    assert offenders(name_of(f) for f in folders if not (ROOT / f.relative_to(ROOT / "tests")).is_dir()) == ""


def test_paths_of_tests_that_are_named_exist() -> None:
    named = {(name_of(p), t) for p in MODULES for t in re.findall(r"tests/[\w/]+\.py", p.read_text())}
    named |= {("tests/conftest.py", path) for path in LONG_MODULES}
    assert len(named) > 40
    assert offenders(f"{where}: {path}" for where, path in named if not (ROOT / path).exists()) == ""
