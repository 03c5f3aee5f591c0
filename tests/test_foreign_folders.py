"""Damaged folders and those of strangers: each command ends with 0, or with 2 and one sentence."""

from __future__ import annotations

import copy
import errno
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import summary
from analysis.averaging import average
from analysis.curves import __main__ as curves
from analysis.curves.score import SHARES, try_forecasts
from analysis.design import __main__ as design
from analysis.emergence import __main__ as emergence
from analysis.explorer import answers
from analysis.plan import __main__ as plan
from analysis.records.emergence import read_emergence
from analysis.report import __main__ as report
from analysis.report import build
from analysis.serve.site import Site
from harness import cancel, status
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.run_files import Failure, RunState, RunStatus
from harness.records.sweep_file import read_sweep
from harness.sweep import __main__ as sweep
from tests import ROOT
from tests.damages import DAMAGES
from tests.fakes.emergence import example, write_tables
from tests.fakes.sweep import make_sweep
from tests.fuzzing import fuzzed

RECORDS = ("sweep.json", "fits.json", "forecast.json", "emergence.json", "state.json")
COMMANDS: dict[str, Callable[[Path], int]] = {
    "status": lambda root: status.main([str(root)]),
    "cancel": lambda root: cancel.main([str(root)]),
    "cancel a run": lambda root: cancel.main([str(root), "no-such-run"]),
    "summary": lambda root: summary.main([str(root)]),
    "report": lambda root: report.main([str(root)]),
    "from": lambda root: sweep.main(["--from", str(root / "sweep.json"), "--cfg"]),
}
REPORTING = ("summary", "report")
# Commands that read a file; the others only make the test longer.
READERS = {
    "sweep.json": tuple(COMMANDS),
    "fits.json": REPORTING,
    "forecast.json": ("report",),
    "emergence.json": ("report",),
    "state.json": ("status", "cancel"),
    "points.parquet": ("status", *REPORTING),
    "curves.parquet": ("report",),
}
# What a value of a record is replaced by: other types, other sizes, markup, numbers that JSON does not know.
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 0.0, 0.5, -1e308, float("nan"), float("inf"), "", "zzz", "[/b]", "[bold",
    "<script>", "../x", "\ud800", "x" * 400, [], [[1]], {}, {"zzz": None},
)  # fmt: skip
DELETED = object()
SHOWN = 4  # tasks of the folder's record; more of them only make the tests longer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep with tasks, of which one run is recorded as failed."""
    root = make_sweep(tmp_path_factory.mktemp("results") / "base")
    folder = SweepFolder(root)
    found = read_emergence(ROOT / "results" / "emergence" / "emergence.json")
    write_record(folder.emergence, replace(found, tasks=found.tasks[:SHOWN]))
    run = folder.run(read_sweep(folder.sweep).cells[0].run_id)
    state = RunState(status=RunStatus.FAILED, failures=(Failure(1.0, "[Errno 28]"),), error="[/b]")
    write_record(run.state, state)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil; no figure is drawn, and no job is looked for in a queue."""
    monkeypatch.setattr(build, "draw_figures", lambda _: {})
    monkeypatch.setattr(build, "try_forecasts", lambda runs: try_forecasts(runs[:3], SHARES[:1]))
    # Laws are fitted for the live part of each report: from few starts, for few budgets, with all runs.
    monkeypatch.setattr(average, "STARTS", 2)
    monkeypatch.setattr(answers, "STEPS", 1)
    monkeypatch.setattr(answers, "MOST", 0)
    monkeypatch.setattr(answers, "MOST_PARTS", 0)
    monkeypatch.setattr(cancel, "_leave_the_queue", lambda _: None)
    return restored(base, tmp_path / "copy")


def restored(base: Path, root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(base, root)
    return root


def place(root: Path, name: str) -> Path:
    return next(root.rglob(name))


def run_all(root: Path, capsys: pytest.CaptureFixture[str], file: str = "sweep.json") -> dict[str, int]:
    """The exit codes of all that read a file; a command that refuses says so in one line and names it."""
    codes = {}
    for name in READERS[file]:
        codes[name] = COMMANDS[name](root)
        error = capsys.readouterr().err
        assert codes[name] in (0, 2), name
        if codes[name] == 2:
            assert error.startswith("error: "), error
            assert error.count("\n") == 1, error
            # One command cancels a run that is not there, whatever the files say.
            assert file in error or error.startswith("error: no-such-run "), error
    return codes


def test_the_folder_itself_is_fine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = run_all(root, capsys)
    assert {name: codes[name] for name in ("status", "cancel", "summary", "report")} == dict.fromkeys(
        ("status", "cancel", "summary", "report"), 0
    )


def keys_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all values; of a list to its first two entries, since the others are alike."""
    if path:
        yield path
    entries: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        entries = enumerate(value[:2])
    for key, entry in entries:
        yield from keys_of(entry, (*path, key))


def changed(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    found = copy.deepcopy(record)
    owner = found
    for key in path[:-1]:
        owner = owner[key]
    if value is DELETED:
        del owner[path[-1]]
    else:
        owner[path[-1]] = value
    return found


@fuzzed(150)
@given(data=st.data(), name=st.sampled_from(RECORDS))
def test_any_value_of_a_record_may_be_any_other(
    base: Path, root: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject, name: str
) -> None:
    path = place(root, name)
    record = json.loads(place(base, name).read_text())
    # Without its hash, as files of earlier versions and of strangers are: the hash alone would be refused.
    record.pop("sha256", None)
    # First the kind of key, else most draws would fall into the longest list.
    kinds: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for keys in keys_of(record):
        kinds.setdefault(tuple("*" if isinstance(key, int) else key for key in keys), []).append(keys)
    kind = data.draw(st.sampled_from(sorted(kinds, key=str)))
    chosen = data.draw(st.sampled_from(kinds[kind]))
    value = data.draw(st.sampled_from((*VALUES, DELETED)))
    path.write_text(json.dumps(changed(record, chosen, value)))
    try:
        run_all(root, capsys, name)
    finally:
        shutil.copy(place(base, name), path)


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


FOREIGN_DAMAGES: dict[str, Callable[[Path], object]] = {
    **DAMAGES,
    "mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "utf-16": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "null": lambda path: path.write_bytes(b"null"),
    "a list": lambda path: path.write_bytes(b"[1, 2]"),
    "integer of 5,000 digits": lambda path: path.write_bytes(b'{"schema": 1' + b"0" * 5_000 + b"}"),
    "brackets": deep,
    "loop": loop,
}


@pytest.mark.parametrize("damage", FOREIGN_DAMAGES)
@pytest.mark.parametrize("name", [*RECORDS, "points.parquet", "curves.parquet"])
def test_a_damaged_file_is_named_with_a_way_out(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    FOREIGN_DAMAGES[damage](place(root, name))
    run_all(root, capsys, name)


DECIDING: dict[str, Callable[[Path], int]] = {
    "plan": lambda root: plan.main([str(root), "--flops", "1e13", "--resamples", "0"]),
    "design": lambda root: design.main([str(root), "--resamples", "0"]),
    "curves": lambda root: curves.main([str(root)]),
    "two reports": lambda root: report.main([str(root), str(root.parent / "other")]),
}


@pytest.mark.parametrize("damage", ["deleted", "half", "folder", "null", "a list", "loop"])
@pytest.mark.parametrize("name", ["sweep.json", "fits.json", "points.parquet"])
def test_commands_that_decide_name_a_damaged_file(
    base: Path, root: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    (root.parent / "other").symlink_to(base)
    FOREIGN_DAMAGES[damage](root / name)
    for command in DECIDING.values():
        code = command(root)
        error = capsys.readouterr().err
        assert code in (0, 2)
        assert (error.startswith("error: "), error.count("\n")) == ((True, 1) if code else (False, 0))
    # The pages of the folder say what is wrong with it.
    if (root / "sweep.json").is_file():
        site = Site(root.parent)
        for path in ("/", "/sweep/copy", "/api/sweep/copy", "/files/copy/report.html"):
            assert site.answer(path).status in (200, 404)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("primary", "law"), "zzz"),
        (("fits", "law"), "zzz"),
        (("fits", "params"), {}),
        (("fits", "params", "alpha"), 0.0),
    ],
)
def test_numbers_that_cannot_be_drawn_together_are_one_sentence(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: tuple[str, ...], value: Any
) -> None:
    root = restored(base, tmp_path / "copy")
    record = json.loads((root / "fits.json").read_text())
    record.pop("sha256")
    path: tuple[Any, ...] = keys if keys[0] == "primary" else ("fits", record["recommended"], *keys[1:])
    (root / "fits.json").write_text(json.dumps(changed(record, path, value)))
    assert report.main([str(root)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {root / 'fits.json'} ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["sweep.json", "fits.json", "points.parquet", "state.json"])
def test_a_file_that_may_not_be_read_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    run_all(root, capsys, name)


@pytest.mark.parametrize("name", ["report.html", "figures"])
def test_what_stands_in_the_way_of_a_report_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = build.plots.overview(build.read_sweep(root).finished, ())
    monkeypatch.setattr(build, "draw_figures", lambda _: {"overview": drawn})
    if name == "figures":
        (root / name).write_text("a file")
        assert report.main([str(root)]) == 2
        error = capsys.readouterr().err
        assert f"cannot write {root / name}" in error
        assert error.count("\n") == 1
    else:
        (root / name / "kept").mkdir(parents=True)
        assert report.main([str(root)]) == 0
        assert len(list(root.rglob("kept"))) == 1  # The folder is set aside.


def test_a_column_of_points_may_hold_anything(
    base: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SweepFolder(root)
    shutil.rmtree(folder.runs)  # Then the status of runs is read from the table too.
    points = pd.read_parquet(SweepFolder(base).points)
    values = ("[/b]", None, np.inf, 0, -1)
    for place, column in enumerate(points):
        # One of them for each column, in turn.
        points.assign(**{str(column): [values[place % 5]] * len(points)}).to_parquet(folder.points)
        run_all(root, capsys, "points.parquet")


def test_a_missing_column_of_points_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SweepFolder(root)
    points = pd.read_parquet(folder.points)
    for column in ("seed", "bits_per_byte", "status"):
        points.drop(columns=column).to_parquet(folder.points)
        assert summary.main([str(root)]) == report.main([str(root)]) == 2
        assert capsys.readouterr().err.count(f"points.parquet lacks the columns {column}: expected") == 2


@pytest.mark.parametrize("field", ["run_id", "point_id"])
@pytest.mark.parametrize("name", ["../../outside", "/absolute", "..", "x" * 300, ""])
def test_an_id_that_leads_out_of_the_folder_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str], field: str, name: str
) -> None:
    path = root / "sweep.json"
    record = json.loads(path.read_text())
    record.pop("sha256", None)
    path.write_text(json.dumps(changed(record, ("cells", 0, field), name)))
    before = sorted(root.parent.rglob("*"))
    assert cancel.main([str(root), name]) == 2
    assert "has a cell called" in capsys.readouterr().err
    assert sorted(root.parent.rglob("*")) == before


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results") / "tasks"
    write_tables(root, [example(seeds=2)[0]])
    return root


@pytest.mark.parametrize("table", ["evals.parquet", "items.parquet", "points.parquet"])
def test_evaluations_of_another_type_are_one_sentence(
    evaluated: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    table: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emergence, "judge_jumps", lambda *_, **__: None)
    monkeypatch.setattr(emergence, "text_of", lambda _: "")
    monkeypatch.setattr(emergence, "to_json", lambda _: {})
    frame = pd.read_parquet(evaluated / table)
    root = restored(evaluated, tmp_path / "copy")
    for column in frame.columns:
        for value in ("[/b]", [1, 2]):
            spoiled = frame.assign(**{column: [value] * len(frame)})
            spoiled.to_parquet(root / table)
            code = emergence.main([str(root)])
            error = capsys.readouterr().err
            assert code in (0, 2)
            assert code == 0 or (error.startswith("error: ") and error.count("\n") == 1)
