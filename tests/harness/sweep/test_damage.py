"""Every kind of file of a finished sweep × every damage: the same command repairs it or says why.

The sweep is trained in this process. Fits, verdicts, figures and forecast are stand-ins that say what they
were made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from analysis.forecast.seal import sealed, table_sha256
from analysis.records.fits import NoiseRecord, StudyRecord
from analysis.records.forecast import ForecastCell, ForecastRecord, read_forecast
from analysis.tables.sweep import read_sweep as load_tables
from analysis.tables.table import load_table
from harness.config.settings import Loaded
from harness.launch.worker import record_attempt
from harness.records import files
from harness.records.files import read_table, write_atomic, write_json
from harness.records.json_files import read_checked, write_checked
from harness.records.paths import RunFolder, SweepFolder
from harness.records.run_files import Attempt, read_attempts
from harness.records.sweep_file import read_sweep
from harness.sweep import __main__ as command
from tests.damages import DAMAGES
from tests.fakes import launcher
from tests.fakes.fits import kaplan_fit
from tests.fakes.record import CORPUS, PROVENANCE
from tests.small_sweeps import SMALL, without_times

GRID = (
    "grid.rungs=[16,32]", "grid.log_interval=4", "grid.n_tokens=[2048,2560]", "grid.holdout_factor=1.1",
    "data.eval_tokens=512", "data.curve_eval_tokens=256",
)  # fmt: skip


ATTEMPT = Attempt(
    **vars(PROVENANCE) | {"devices": ("cpu",)}, host="here", platform="cpu", command="python", config={},
    corpus=CORPUS,
)  # fmt: skip


class Tasks:
    """Task evaluations that depend on the parameters alone."""

    def at_the_end(self, engine: Any, params: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # noqa: ARG002
        value = self._value(params)
        item = {
            "task": "copy", "length": 4, "n_shot": 0, "item": 0, "n_positions": 4, "hits": 3, "margin": 0.5,
            "exact_match": False, "log_p_answer": -value, "nll_per_token": value,
        }  # fmt: skip
        return self._rows(value), [item]

    def on_the_way(self, engine: Any, params: Any) -> list[dict[str, Any]]:  # noqa: ARG002
        return self._rows(self._value(params))

    def _value(self, params: Any) -> float:
        return float(np.sum([np.abs(np.asarray(leaf)).mean() for leaf in jax.tree.leaves(params)]))

    def _rows(self, value: float) -> list[dict[str, Any]]:
        return [{"task": "copy", "length": 4, "n_shot": 0, "split": "test", "metric": "exact_match",
                 "value": value, "sem": None, "n_items": 9, "chance": None}]  # fmt: skip


def digest(*frames: pd.DataFrame) -> str:
    """What tables say, without times."""
    text = "".join(without_times(frame).to_csv() for frame in frames)
    return hashlib.sha256(text.encode()).hexdigest()


def study(points: pd.DataFrame, curves: pd.DataFrame, forecast: Any, **_: object) -> StudyRecord:
    says = f"{digest(points, curves)} {[each.created for each in forecast]}"
    noise = NoiseRecord()
    return StudyRecord(reason="", adequacy={}, noise=noise, warnings=(), excluded=(), verdict=says)


def judge(root: Path) -> None:
    folder = SweepFolder(root)
    write_json(folder.emergence, {"tasks": digest(read_table(folder.evals), read_table(folder.items))})


def report(root: Path) -> Path:
    folder = SweepFolder(root)
    says = digest(read_table(folder.points)) + folder.fits.read_text() + folder.emergence.read_text()
    for name in ("curves.svg", "curves.png"):
        write_atomic(folder.figures / name, says)
    write_atomic(folder.report, says)
    return folder.report


def seal(fitted: pd.DataFrame, cells: pd.DataFrame, **_: object) -> ForecastRecord:
    rows = tuple(
        ForecastCell(row.rung, int(row.n_params), int(row.n_tokens), row.flops, 1.0, 3.0, 2.9, 3.1)
        for row in cells.itertuples()
    )
    return sealed(
        ForecastRecord(
            created="2024-05-01T12:00:00Z", code_revision="0123abc",
            table_sha256=table_sha256(load_table(fitted)), rule="", law="joint", count="n_params",
            fit=kaplan_fit("n_params"), level=0.9, cells=rows, losers=(), contest=(),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        launcher.train_here(patch)
        build = launcher.build_inputs
        patch.setattr(launcher, "build_inputs", lambda *given: replace(build(*given), tasks=Tasks()))
        patch.setattr("analysis.study.study.study_sweep", study)
        patch.setattr("analysis.emergence.study.conclude", judge)
        patch.setattr("analysis.report.build.write_report", report)
        patch.setattr("analysis.forecast.seal.seal_forecast", seal)
        patch.setattr("harness.sweep.preparation.check_fit_cells", lambda cells: None)  # noqa: ARG005
        patch.setattr("harness.sweep.sweep.print_conclusion", lambda *_: None)
        # Composed once: that takes longer than everything else here.
        patch.setattr(command, "known_keys", cache(command.known_keys))
        composed = cache(lambda given: command.load_noted(list(given)))

        def load(given: list[str], _: None) -> Loaded:
            *same, results = given
            made = composed(tuple(same))
            own = replace(made.settings, results_dir=results.removeprefix("results_dir="))
            return replace(made, settings=own)

        patch.setattr(command, "load_settings", load)
        yield


@dataclass(frozen=True)
class Sweeps:
    """A finished sweep, and one of another recipe and seed."""

    whole: Path
    other: Path
    cache: Path

    def run(self, root: Path, *more: str) -> int:
        return command.main([*SMALL, *GRID, f"cache_dir={self.cache}", *more, f"results_dir={root}"])


@pytest.fixture(scope="module")
def sweeps(patched: None, tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Sweeps:  # noqa: ARG001
    root = tmp_path_factory.mktemp("damage")
    made = Sweeps(root / "whole", root / "other", data_cache)
    assert made.run(made.whole) == 0
    assert made.run(made.other, "grid.seeds=[7]", "optim.weight_decay=0.01") == 0
    for each in (made.whole, made.other):
        record_attempt(first_run(each), ATTEMPT)
    return made


def first_run(root: Path) -> RunFolder:
    """The run of the smallest rung."""
    folder = SweepFolder(root)
    points = read_table(folder.points)
    return folder.run(points.sort_values(["d_model", "n_tokens"]).run_id.iloc[0])


# Files of the folder, by pattern.
FILES = {
    **{
        name: name
        for name in ("sweep.json", "forecast.json", "points.parquet", "curves.parquet", "evals.parquet",
                     "items.parquet", "fits.json", "emergence.json", "report.html", "figures/curves.svg",
                     "figures/curves.png", "derived.json", "runs/recipe.json")
    },
    "point": "runs/*/points/*.json",
    "trunk of the curve": "runs/*/curves/trunk-*",
    "branch of the curve": "runs/*/curves/branch-*",
    "evaluation on the way": "runs/*/evals/trunk-*",
    "evaluation at the end": "runs/*/evals/[!t]*",
    "items": "runs/*/items/*",
    "state": "runs/*/state.json",
    "recipe": "runs/*/spec.json",
    "lease": "runs/*/lease/*.json",
    "provenance": "runs/*/provenance.json",
    "kept parameters": "runs/*/weights/*",
    "manifest": "runs/*/checkpoints/trunk/*/manifest.json",
    "checkpoint": "runs/*/checkpoints/trunk/*/*/*",
}  # fmt: skip
# Files that are not damaged here, and why.
LEFT_OUT = {
    "runs/*/checkpoints/trunk/*": "the manifest beside it has the checksum of each file, and one is damaged",
}


def file_of(kind: str, root: Path) -> Path:
    """The first file of a kind, in order of names; of the smallest run."""
    pattern = FILES[kind].replace("runs/*/", f"runs/{first_run(root).run_id}/")
    return sorted(path for path in root.glob(pattern) if path.is_file())[0]


FOREIGN = "foreign"  # the same file of another sweep
ALL = (*DAMAGES, FOREIGN)
# What only the user can bring back, and the damages of it that stop the command.
FINAL = {
    "sweep.json": {*ALL} - {"deleted"},
    "forecast.json": {*ALL},
    "runs/recipe.json": {FOREIGN},
}
# Files of runs that tables are made from.
TRAINED = ("point", "trunk of the curve", "branch of the curve", "evaluation on the way",
           "evaluation at the end", "items")  # fmt: skip
# Files that matter only to a run that is trained again.
READ_IN_TRAINING = ("state", "recipe", "lease", "manifest", "checkpoint")


def timeless(path: Path) -> pd.DataFrame:
    return without_times(read_table(path))


# Of the sweep that nobody disturbed, whose files stay as they are.
whole_table = cache(timeless)


def assert_same(root: Path, whole: Path) -> None:
    folder = SweepFolder(whole)
    for path in (folder.points, folder.curves, folder.evals, folder.items):
        pd.testing.assert_frame_equal(timeless(root / path.name), whole_table(path), check_exact=True)
    for path in (folder.fits, folder.emergence, folder.report, folder.forecast, *folder.figures.iterdir()):
        assert (root / path.relative_to(whole)).read_bytes() == path.read_bytes(), path.name


def test_every_kind_of_file_is_damaged(sweeps: Sweeps) -> None:
    """Or it is said why not; a new kind of file fails here."""
    whole = sweeps.whole
    written = [str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()]
    assert len(written) > len(FILES)
    patterns = [*FILES.values(), *LEFT_OUT]
    assert [name for name in written if not any(fnmatch(name, pattern) for pattern in patterns)] == []


@pytest.mark.parametrize("damage", ALL)
@pytest.mark.parametrize("kind", FILES)
def test_the_same_command_repairs_it_or_says_why(
    kind: str, damage: str, sweeps: Sweeps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "sweep"
    shutil.copytree(sweeps.whole, root)
    path = file_of(kind, root)
    if damage == FOREIGN:
        shutil.copy(file_of(kind, sweeps.other), path)
    else:
        DAMAGES[damage](path)
    if kind in READ_IN_TRAINING:
        file_of("point", root).unlink()
    code = sweeps.run(root)
    said = capsys.readouterr()
    if damage in FINAL.get(kind, ()):
        assert code == 2
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert path.name in said.err
        return
    assert code == 0, said.err
    assert_same(root, sweeps.whole)
    if kind == "provenance":
        # Of the attempts of before nothing is left, and the next one is recorded.
        record_attempt(first_run(root), ATTEMPT)
        assert replace(read_attempts(path)[-1], time=0.0) == ATTEMPT
    if kind in TRAINED:
        assert "warning: " in said.out
        # A lost part is named by the steps that it held.
        assert path.name in said.out or f"{first_run(root).run_id}/curves lacks steps" in said.out
    if kind == "kept parameters":
        text = " ".join(said.out.split())
        assert "parameters of 1 finished end points of keep=auto" in text
        assert "are not there" in text if damage == "deleted" else "cannot be read" in text
        # A long path is wrapped within.
        assert f"{path.stem}.jsonandgivethesamecommand" in text.replace(" ", "")
    if damage == "flipped" and kind in (*TRAINED, *READ_IN_TRAINING):
        assert sweeps.run(root) == 0
        assert "0 to train" in capsys.readouterr().out


class Killed(BaseException):
    """The process ends here; unlike an exception nobody handles it."""


def narrowed(sweeps: Sweeps, root: Path) -> Path:
    """The folder of a sweep of fewer cells that was extended, up to the end of training."""
    shutil.copytree(sweeps.whole, root)
    assert sweeps.run(root, "grid.n_tokens=[2048]") == 0
    assert len(read_table(root / "points.parquet")) == 2
    return root


def test_a_conclusion_killed_at_any_write_is_made_to_its_end_by_the_next(
    sweeps: Sweeps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a smaller sweep left is never taken for that of the extended one."""
    start, replacing, written = narrowed(sweeps, tmp_path / "start"), files._replacing, []
    for n in range(100):
        root = tmp_path / str(n)
        shutil.copytree(start, root)
        left = iter(range(n))

        @contextlib.contextmanager
        def until_killed(path: Path, left: Iterator[int] = left) -> Iterator[Path]:
            if next(left, None) is None:
                written.append(path.name)
                raise Killed
            with replacing(path) as temporary:
                yield temporary

        with monkeypatch.context() as patch:
            patch.setattr(files, "_replacing", until_killed)
            with contextlib.suppress(Killed):
                assert sweeps.run(root) == 0
                break
        assert sweeps.run(root) == 0
        assert_same(root, sweeps.whole)
        shutil.rmtree(root)
    tables = {f"{name}.parquet" for name in ("points", "curves", "evals", "items")}
    assert tables | {"fits.json", "emergence.json", "curves.svg", "report.html", "derived.json"} <= set(
        written
    )


def test_derived_files_of_another_sweep_are_not_taken_for_those_of_the_runs(
    sweeps: Sweeps, tmp_path: Path
) -> None:
    """As in a fresh clone, which has the files of the example, or after a copy from elsewhere."""
    root = tmp_path / "sweep"
    shutil.copytree(sweeps.whole, root)
    for path in (*sweeps.other.glob("*.parquet"), sweeps.other / "fits.json", sweeps.other / "report.html"):
        shutil.copy(path, root / path.name)
    (root / "derived.json").unlink()
    assert sweeps.run(root) == 0
    assert_same(root, sweeps.whole)


def test_a_sweep_without_tasks_keeps_no_tables_of_tasks_of_before(sweeps: Sweeps, tmp_path: Path) -> None:
    root = tmp_path / "sweep"
    shutil.copytree(sweeps.whole, root)
    for path in root.glob("runs/*/points/*.json"):
        content = read_checked(path)
        write_checked(path, content | {"rests_on": content["rests_on"] | {"tasks": False, "step_evals": []}})
    for path in root.glob("runs/*/*/*.parquet"):
        if path.parent.name in ("evals", "items"):
            path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.report.build.write_report", lambda root: root)
        assert sweeps.run(root) == 0
    assert not [
        name for name in ("evals.parquet", "items.parquet", "emergence.json") if (root / name).exists()
    ]


def seal_of(root: Path) -> str:
    return read_forecast(root / "forecast.json").sha256


@pytest.mark.parametrize("name", ["forecast.json", "forecast-2.json"])
def test_a_forecast_that_the_sweep_did_not_seal_is_read_by_nothing(
    name: str, sweeps: Sweeps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in a sweep without hold-out, nor beside the forecast that was sealed."""
    root, grid = tmp_path / "sweep", ["grid.holdout_factor=null"] if name == "forecast.json" else []
    shutil.copytree(sweeps.whole, root)
    if grid:
        (root / name).unlink()
        (root / "sweep.json").unlink()
        assert sweeps.run(root, *grid) == 0
    fits, listed = (root / "fits.json").read_bytes(), read_sweep(root / "sweep.json").seals
    own = () if grid else (seal_of(sweeps.whole),)
    assert listed == own
    shutil.copy(sweeps.other / "forecast.json", root / name)
    for gone in ((), ("fits.json", "report.html")):
        for each in gone:
            (root / each).unlink()
        assert sweeps.run(root, *grid) == 0
        assert f"{name} is no forecast that this sweep sealed" in " ".join(capsys.readouterr().out.split())
        assert (root / "fits.json").read_bytes() == fits
        assert read_sweep(root / "sweep.json").seals == listed
    assert tuple(each.sha256 for each in load_tables(root).forecasts) == own


def test_a_lost_forecast_is_given_up_by_an_override(
    sweeps: Sweeps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "sweep"
    shutil.copytree(sweeps.whole, root)
    (root / "forecast.json").unlink()
    (root / "fits.json").unlink()
    assert sweeps.run(root) == 2
    assert "grid.holdout_factor=1" in capsys.readouterr().err
    assert sweeps.run(root, "grid.holdout_factor=1") == 0


@pytest.fixture(scope="module")
def grown(sweeps: Sweeps, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep with a second forecast, of cells that it was extended by."""
    root = tmp_path_factory.mktemp("grown") / "sweep"
    shutil.copytree(sweeps.whole, root)
    assert sweeps.run(root, *LONGER) == 0
    return root


LONGER = ("grid.n_tokens=[2048,2560,3072]",)


@pytest.mark.parametrize("damage", ALL)
def test_a_damaged_second_forecast_is_named(
    damage: str, sweeps: Sweeps, grown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "sweep"
    shutil.copytree(grown, root)
    path = root / "forecast-2.json"
    if damage == FOREIGN:
        shutil.copy(sweeps.other / "forecast.json", path)
    else:
        DAMAGES[damage](path)
    capsys.readouterr()
    assert sweeps.run(root, *LONGER) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert path.name in error
