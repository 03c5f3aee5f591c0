"""Damaged folders and those of strangers: each command ends with 0, or with 2 and one sentence."""

from __future__ import annotations

import copy
import errno
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from analysis import fit, same_law, summary
from analysis.averaging import average
from analysis.compare import __main__ as compare
from analysis.contest import rollout
from analysis.curves import __main__ as curves
from analysis.curves.score import SHARES, try_forecasts
from analysis.design import __main__ as design
from analysis.emergence import __main__ as emergence
from analysis.explorer import answers
from analysis.plan import __main__ as plan
from analysis.records.emergence import read_emergence
from analysis.report import __main__ as report
from analysis.report import build
from analysis.serve import __main__ as serve
from analysis.serve.site import Site
from analysis.solve import search
from harness import cancel, export, sample, status
from harness.data.text.tokenizer import Tokenizer
from harness.evaluate import __main__ as evaluate
from harness.records.files import read_table, write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.run_files import Failure, RunState, RunStatus
from harness.records.sweep_file import read_sweep
from harness.sweep import __main__ as sweep
from harness.weights.kept import CARD, Card, Keep, nested, shapes, write_kept
from harness.weights.tensor_file import read_tensors, read_texts
from tests import ROOT
from tests.damages import DAMAGES
from tests.fakes.emergence import example, write_tables
from tests.fakes.sweep import make_sweep
from tests.fuzzing import fuzzed
from tests.quick_compilation import without_optimisation
from tests.recipes import RASTER, model, run_spec

RECORDS = ("sweep.json", "fits.json", "forecast.json", "emergence.json", "state.json", "kept model")
TABLES = ("points.parquet", "curves.parquet")
OTHER = "other"  # name of a sound sweep beside the spoilt one
OWN_TEXT = "text.txt"
MODEL = run_spec(model=model(vocab_size=257))


class Asked:
    """In place of a server that waits for browsers: every page is asked for once."""

    address = "nowhere"

    def __init__(self, site: Site, _port: int):
        self.site = site

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def serve_forever(self) -> None:
        for name in self.site._found().sweeps:
            pages = (f"/sweep/{name}", f"/api/sweep/{name}", f"/files/{name}/report.html")
            assert [self.site.answer(path).status for path in pages[:2]] == [200, 200]
            assert self.site.answer(pages[2]).status in (200, 404)
        assert self.site.answer("/").status == 200


def beside(root: Path) -> str:
    return str(root.parent / OTHER)


COMMANDS: dict[str, Callable[[Path], int]] = {
    "status": lambda root: status.main([str(root)]),
    "cancel": lambda root: cancel.main([str(root)]),
    "cancel a run": lambda root: cancel.main([str(root), "no-such-run"]),
    "summary": lambda root: summary.main([str(root)]),
    "report": lambda root: report.main([str(root)]),
    "two reports": lambda root: report.main([str(root), beside(root)]),
    "from": lambda root: sweep.main(["--from", str(root / "sweep.json"), "--cfg"]),
    "plan": lambda root: plan.main([str(root), "--flops", "1e13", "--resamples", "0"]),
    "design": lambda root: design.main([str(root), *CHOICE, "--resamples", "0"]),
    "curves": lambda root: curves.main([str(root)]),
    "compare": lambda root: compare.main([str(root), beside(root), "--resamples", "1"]),
    "same law": lambda root: same_law.main([str(root), beside(root), "--resamples", "100"]),
    "fit": lambda root: fit.main([str(root / "points.parquet"), "--resamples", "0"]),
    "serve": lambda root: serve.main([str(root.parent)]),
    "sample": lambda root: sample.main([str(root), "--tokens", "1"]),
    "export": lambda root: export.main([str(root), "--to", str(root.parent / "exported")]),
    "evaluate": lambda root: evaluate.main([str(root), "--data", str(root.parent / OWN_TEXT)]),
}
# What else a refusal names: one command cancels a run that is not there, whatever the files say.
ELSE_NAMED = {
    "sweep.json": ("error: no-such-run ",),
    "points.parquet": ("copy has ", "the sweeps have ", "rows can be used"),
    "kept model": (".safetensors", "copy keeps no parameters of its models"),
}
CHOICE = ("--next", "1", "--spend", "1e13", "--target", "1e15")
REPORTING = ("summary", "report")
DECIDING = ("plan", "design")
# Commands that read a file; the others only make the test longer.
READERS = {
    "sweep.json": ("status", "cancel", "cancel a run", *REPORTING, "from", *DECIDING, "curves", "serve"),
    "fits.json": (*REPORTING, *DECIDING, "serve", "two reports"),
    "forecast.json": ("report", "serve"),
    "emergence.json": ("report", "serve"),
    "state.json": ("status", "cancel", "curves", "serve"),
    "points.parquet": (
        "status", *REPORTING, *DECIDING, "curves", "compare", "same law", "fit", "serve", "two reports"
    ),
    "curves.parquet": ("report", "curves", "serve"),
    "kept model": ("sample", "export", "evaluate"),
}  # fmt: skip
# What a value of a record is replaced by: other types, other sizes, markup, numbers that JSON does not know.
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 0.0, 0.5, -1e308, float("nan"), float("inf"), "", "zzz", "[/b]", "[bold",
    "<script>", "../x", "\ud800", "x" * 400, [], [[1]], {}, {"zzz": None},
)  # fmt: skip
IN_COLUMNS: tuple[Any, ...] = ("[/b]", "", None, float("nan"), np.inf, 0, -1, 2**62, 1e-300, True, [1.0])
DELETED = object()
SHOWN = 4  # tasks of the folder's record; more of them only make the tests longer
WITH_CURVES = 2  # runs that have some, as each costs time in every report


def write_model(folder: SweepFolder) -> None:
    """A model that keeps its parameters, all of them zero."""
    tokenizer = Tokenizer(MODEL.model.vocab_size, "")
    card = Card.of(MODEL, RASTER, 5.0, 2.0, Keep(frozenset(), "fp32", tokenizer))
    params = nested({name: np.zeros(shape) for name, shape in shapes(MODEL.model).items()})
    write_kept(folder.run(MODEL.run_id).point_weights(card.point_id), card, params)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep with tasks and a kept model, of which one run is recorded as failed."""
    root = make_sweep(tmp_path_factory.mktemp("results") / "base")
    folder = SweepFolder(root)
    real = read_sweep(ROOT / "results" / "chinchilla" / "sweep.json")
    record = replace(read_sweep(folder.sweep), config=real.config, recipe=real.recipe, corpus=real.corpus)
    write_record(folder.sweep, record)
    rows = read_table(folder.curves)
    write_table(folder.curves, rows[rows.run_id.isin(rows.run_id.unique()[:WITH_CURVES])])
    found = read_emergence(ROOT / "results" / "emergence" / "emergence.json")
    write_record(folder.emergence, replace(found, tasks=found.tasks[:SHOWN]))
    run = folder.run(record.cells[0].run_id)
    state = RunState(status=RunStatus.FAILED, failures=(Failure(1.0, "[Errno 28]"),), error="[/b]")
    write_record(run.state, state)
    write_model(folder)
    return root


@pytest.fixture(autouse=True, scope="module")
def compile_quickly() -> Iterator[None]:
    with without_optimisation():
        yield


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laws are fitted from few starts, for few budgets, from all rows; nothing waits for a browser."""
    monkeypatch.setattr(build, "try_forecasts", lambda runs: try_forecasts(runs[:3], SHARES[:1]))
    monkeypatch.setattr(search.multi_start, "__defaults__", (2,))
    monkeypatch.setattr(search, "ROUNDS", 4)
    monkeypatch.setattr(rollout, "STARTS", 2)
    monkeypatch.setattr(average, "STARTS", 2)
    monkeypatch.setattr(answers, "STEPS", 1)
    monkeypatch.setattr(answers, "MOST", 0)
    monkeypatch.setattr(answers, "MOST_PARTS", 0)
    monkeypatch.setattr(answers, "DEMANDS", 2)
    monkeypatch.setattr(serve, "Server", Asked)


@pytest.fixture
def root(base: Path, tmp_path: Path, brief: None, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A copy to spoil; no figure is drawn, and no job is looked for in a queue."""
    monkeypatch.setattr(build, "draw_figures", lambda _: {})
    monkeypatch.setattr(cancel, "_leave_the_queue", lambda _: None)
    monkeypatch.chdir(tmp_path)  # Pages of two sweeps are written there.
    (tmp_path / OTHER).symlink_to(base)
    (tmp_path / OWN_TEXT).write_text("one two three")
    return restored(base, tmp_path / "copy")


def restored(base: Path, root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(base, root)
    return root


def place(root: Path, name: str) -> Path:
    return next(root.rglob("*.safetensors" if name == "kept model" else name))


def run_all(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    file: str = "sweep.json",
    commands: Sequence[str] | None = None,
    named: bool = True,
) -> dict[str, int]:
    """The exit codes of all that read a file; a command that refuses says so in one line and names it."""
    codes = {}
    for name in READERS[file] if commands is None else commands:
        codes[name] = COMMANDS[name](root)
        error = capsys.readouterr().err
        assert codes[name] in (0, 2), name
        if codes[name] == 2:
            assert error.startswith("error: "), error
            assert error.count("\n") == 1, error
            assert not named or any(words in error for words in (file, *ELSE_NAMED.get(file, ()))), error
    return codes


def test_the_folder_itself_is_fine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else each command would stop at the same sentence, whatever is damaged."""
    codes = run_all(root, capsys, commands=[name for name in COMMANDS if name != "cancel a run"])
    assert codes == dict.fromkeys(codes, 0)


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


def read_any(path: Path) -> Any:
    """A record without its hash, as files of earlier versions and of strangers are.

    Else the hash alone would be refused.
    """
    if path.suffix == ".safetensors":
        return json.loads(read_texts(path)[CARD])
    record = json.loads(path.read_text())
    record.pop("sha256", None)
    return record


def write_any(path: Path, record: Any) -> None:
    if path.suffix == ".safetensors":
        arrays, _ = read_tensors(path)
        path.write_bytes(save(arrays, {CARD: json.dumps(record)}))
    else:
        path.write_text(json.dumps(record))


@fuzzed(70)
@given(data=st.data(), name=st.sampled_from(RECORDS))
def test_any_value_of_a_record_may_be_any_other(
    base: Path, root: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject, name: str
) -> None:
    path = place(root, name)
    record = read_any(place(base, name))
    # First the kind of key, else most draws would fall into the longest list.
    kinds: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for keys in keys_of(record):
        kinds.setdefault(tuple("*" if isinstance(key, int) else key for key in keys), []).append(keys)
    kind = data.draw(st.sampled_from(sorted(kinds, key=str)))
    chosen = data.draw(st.sampled_from(kinds[kind]))
    value = data.draw(st.sampled_from((*VALUES, DELETED)))
    command = data.draw(st.sampled_from(READERS[name]))
    write_any(path, changed(record, chosen, value))
    try:
        # Of a stored configuration the key is named.
        run_all(root, capsys, name, [command], named=chosen[0] != "config")
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
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_with_a_way_out(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    FOREIGN_DAMAGES[damage](place(root, name))
    run_all(root, capsys, name)


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
    base: Path,
    tmp_path: Path,
    brief: None,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
    keys: tuple[str, ...],
    value: Any,
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


@fuzzed(35)
@given(data=st.data(), name=st.sampled_from(TABLES))
def test_a_column_of_a_table_may_hold_anything(
    base: Path, root: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject, name: str
) -> None:
    """In all rows, or in the first; the status of runs is read from the table too."""
    shutil.rmtree(SweepFolder(root).runs, ignore_errors=True)
    table = pd.read_parquet(base / name)
    column = data.draw(st.sampled_from(list(table)))
    value = data.draw(st.sampled_from(IN_COLUMNS))
    others = (data.draw(st.booleans()) and [value] * (len(table) - 1)) or table[column].tolist()[1:]
    command = data.draw(st.sampled_from(READERS[name]))
    spoilt = pd.Series([value, *others], table.index)
    try:
        table.assign(**{column: spoilt}).to_parquet(root / name)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return  # no column can hold both
    try:
        # Numbers that can be, such as a huge batch, lead to sentences about numbers.
        run_all(root, capsys, name, [command], named=False)
    finally:
        shutil.copy(base / name, root / name)


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
    for number, column in enumerate(frame.columns):
        value = ("[/b]", [1, 2])[number % 2]  # of two types in turn
        spoiled = frame.assign(**{column: [value] * len(frame)})
        spoiled.to_parquet(root / table)
        code = emergence.main([str(root)])
        error = capsys.readouterr().err
        assert code in (0, 2)
        assert code == 0 or (error.startswith("error: ") and error.count("\n") == 1)
