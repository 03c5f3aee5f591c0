"""Curves and points copied for other tools, from the files of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.grid.cells import jobs
from harness.records.columns import CURVE_COLUMNS, as_table
from harness.records.errors import InputError
from harness.records.files import write_json, write_table
from harness.records.paths import SweepFolder
from harness.track import sinks
from harness.track.sinks import MODULES, Sinks, check_installed, check_sinks, new_rows
from tests.fakes.record import sweep_record
from tests.small_sweeps import small_cells

(JOB,) = jobs(small_cells())
RECORD = sweep_record()


def curve(folder: SweepFolder, segment: str, steps: list[int]) -> None:
    """A part of the run's curve, with an evaluation at its last step alone."""
    rows = [
        dict.fromkeys(CURVE_COLUMNS, 0.0)
        | {"run_id": "x", "point_id": None, "step": step, "train_loss": 1.0 / step}
        | {"eval_loss": None if step != steps[-1] else 0.5}
        for step in steps
    ]
    path = folder.run(JOB.spec.run_id).curve_part(segment, steps[0], steps[-1])
    write_table(path, as_table(rows, CURVE_COLUMNS))


def point(folder: SweepFolder) -> None:
    """The run's end point."""
    found = {"loss": 2.5, "loss_sem": None, "n_tokens": JOB.n_tokens[0]}
    write_json(folder.run(JOB.spec.run_id).point(JOB.spec.point_id(JOB.n_tokens[0])), found)


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    made = SweepFolder(tmp_path)
    curve(made, "trunk", [8, 16])
    curve(made, f"branch-{JOB.n_tokens[0]}", [24, 32])
    point(made)
    return made


def test_rows_are_given_once_and_named_by_their_segment(folder: SweepFolder) -> None:
    given: dict[str, int] = {}
    rows = new_rows(folder, JOB, given)
    branch = f"branch-{JOB.n_tokens[0]}/train_loss"
    assert [step for step, values in rows if "train_loss" in values] == [8, 16]
    assert [step for step, values in rows if branch in values] == [24, 32]
    assert "eval_loss" not in next(values for step, values in rows if step == 8)
    assert next(values for step, values in rows if step == 16)["eval_loss"] == 0.5
    end = JOB.spec.n_steps(JOB.n_tokens[0])
    assert (end, {"point/loss": 2.5, "point/n_tokens": float(JOB.n_tokens[0])}) in rows
    assert new_rows(folder, JOB, given) == []
    curve(folder, "trunk", [16, 24])
    assert [step for step, _ in new_rows(folder, JOB, given)] == [24]


class Broken:
    """A sink whose service went away."""

    def __init__(self, *_: Any):
        pass

    def log(self, *_: Any) -> None:
        raise ConnectionError("no route to host")

    def close(self) -> None:
        pass


def test_a_broken_sink_is_told_of_once(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sinks.WRITERS, "mlflow", Broken)
    told: list[str] = []
    fed = Sinks(["mlflow"], folder, RECORD, told.append)
    for _ in range(2):
        fed.finish(JOB)
    fed.close()
    assert told == [
        "warning: mlflow takes no more and is left out (ConnectionError: no route to host); "
        "the tables are complete"
    ]


class Kept:
    """A sink that a test can look into."""

    steps: ClassVar[list[int]] = []

    def __init__(self, *_: Any):
        pass

    def log(self, step: int, _: Any) -> None:
        self.steps.append(step)

    def close(self) -> None:
        pass


def test_the_next_driver_gives_only_what_is_new(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "steps", [])
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sinks.WRITERS, name, Kept)
    end = JOB.spec.n_steps(JOB.n_tokens[0])
    for names, expected in (
        (["mlflow"], [24, 32, 8, 16, end]),
        (["mlflow"], []),
        (["mlflow", "wandb"], [24, 32, 8, 16, end]),  # all of it to a sink that joins later
    ):
        Kept.steps.clear()
        fed = Sinks(names, folder, RECORD, pytest.fail)
        fed.finish(JOB)
        fed.close()
        assert Kept.steps == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [("tensorbord", ["sinks=tensorbord", "did you mean tensorboard"]), ("wandb", ["uv sync --extra wandb"])],
)
def test_a_sink_that_cannot_be_used(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    check = check_installed if name in MODULES else check_sinks
    with pytest.raises(InputError) as error:
        check([name])
    assert [word for word in words if word not in str(error.value)] == []
    check_sinks([])
    check_installed([])


def feed(name: str, folder: SweepFolder) -> None:
    """All that the folder has, through the real package."""
    pytest.importorskip(MODULES[name], reason=f"needs the extra {name}")
    told: list[str] = []
    fed = Sinks([name], folder, RECORD, told.append)
    fed.finish(JOB)
    fed.close()
    assert told == []


def test_tensorboard_takes_the_curve(folder: SweepFolder) -> None:
    feed("tensorboard", folder)
    (events,) = (folder.root / "tensorboard").rglob("events.out.*")
    content = events.read_bytes()
    assert b"train_loss" in content
    assert b"point/loss" in content


@pytest.mark.filterwarnings("ignore")
def test_mlflow_takes_the_curve(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    feed("mlflow", folder)
    (metric,) = (folder.root / "mlflow").rglob("metrics/train_loss")
    assert [line.split()[1:] for line in metric.read_text().splitlines()] == [
        ["0.125", "8"],
        ["0.0625", "16"],
    ]


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_takes_the_curve(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    feed("wandb", folder)
    (kept,) = (folder.root / "wandb").glob(f"offline-run-*/run-{JOB.spec.run_id}.wandb")
    assert kept.stat().st_size > 0
