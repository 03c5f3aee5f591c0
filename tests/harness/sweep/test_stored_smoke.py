"""The smoke grid as stored: run ids, tables, losses and fits stay what they were (tests/README.md)."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.everything import fit_everything
from analysis.records.fit import COUNTS
from analysis.tables.table import load_table
from harness.config.settings import load
from harness.grid.cells import Cell
from harness.grid.expansion import expand
from harness.recipe.spec import RunSpec
from harness.records.columns import POINT_COLUMNS
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from harness.records.provenance import cpu_name
from harness.runs.rows import point_row
from tests import ROOT
from tests.small_sweeps import TRAIN_ONLY, finish

STORED = SweepFolder(ROOT / "tests" / "stored" / "smoke")
# Nats by which losses may differ: on a processor of the same name, as virtual machines hide the generation,
# on another processor, and on a text of other versions of packages.
GENERATION, ROUNDING, OTHER_TEXT = 1e-5, 2e-3, 0.15
MEASURED = {
    "n_unique_tokens", "loss", "loss_sem", "loss_blocks", "bits_per_byte", "status", "excluded_reason",
    "seconds", "device", "code_revision",
}  # fmt: skip


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """Specs, fits and machine of the stored sweep."""
    found: dict[str, Any] = json.loads((STORED.root / "smoke.json").read_text())
    return found


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return read_table(STORED.points)


@pytest.fixture(scope="module")
def cells(record: dict[str, Any]) -> list[Cell]:
    """The cells of the grid as it stands in sweeps/, on the stored corpus."""
    spec = RunSpec.from_dict(next(iter(record["specs"].values())))
    return expand(load(["+grid=smoke"]), spec.data, spec.model.vocab_size)


def test_recipes_keep_their_run_ids(record: dict[str, Any], cells: list[Cell]) -> None:
    assert {cell.spec.run_id: cell.spec.to_dict() for cell in cells} == record["specs"]
    for run_id, spec in record["specs"].items():
        assert RunSpec.from_dict(spec).run_id == run_id


def test_rows_keep_ids_sizes_compute_and_rates(points: pd.DataFrame, cells: list[Cell]) -> None:
    rows = [point_row(cell.spec, cell.n_tokens) | {"grid": "smoke", "role": cell.role} for cell in cells]
    made = pd.DataFrame(rows)
    planned = [column for column in POINT_COLUMNS if column not in MEASURED]
    assert set(planned) <= set(made)
    pd.testing.assert_frame_equal(made[planned], points[planned], check_exact=True, check_dtype=False)


def test_fits_of_the_stored_tables_are_the_stored_fits(record: dict[str, Any], points: pd.DataFrame) -> None:
    stored = record["fits"]
    tables = {count: load_table(points, count=count) for count in COUNTS}
    primary = next(iter(COUNTS))
    laws = [fit["law"] for fit in stored if fit["approach"] == "parametric" and fit["count"] == primary]
    made = fit_everything(tables, points, read_table(STORED.curves), laws[0], laws[1:], 0, 0.9, 0).fits
    assert len(made) == len(stored)
    for mine, theirs in zip(made, stored, strict=True):
        for name in ("law", "approach", "estimator", "count", "nobs"):
            assert getattr(mine, name) == theirs[name]
        numbers = {**mine.params, "objective": mine.objective, "a": mine.frontier.a, "b": mine.frontier.b}
        expected = {**theirs["params"], **{name: theirs[name] for name in ("objective", "a", "b")}}
        assert [name for name, x in numbers.items() if x is None or np.isnan(x)] == [
            name for name, x in expected.items() if x is None
        ]
        known = {name: x for name, x in expected.items() if x is not None}
        if theirs["objective"] is not None:
            assert mine.objective == pytest.approx(theirs["objective"], rel=1e-6), mine.law
        # In a flat valley the processor's rounding decides where the search ends.
        assert {name: numbers[name] for name in known} == pytest.approx(known, rel=0.02, abs=1e-9), mine.law


PART = ("grid.rungs=[16,48]", "grid.n_tokens=[65536,131072]")


@pytest.mark.parametrize("part", [PART, pytest.param((), marks=pytest.mark.slow)], ids=["part", "whole"])
def test_training_finds_the_stored_losses(
    part: tuple[str, ...], record: dict[str, Any], points: pd.DataFrame, tmp_path: Path, data_cache: Path
) -> None:
    """Nearly to the last bit if processor and compiler are those of the stored tables."""
    arguments = ["+grid=smoke", "grid.holdout_factor=1", *part, f"results_dir={tmp_path}"]
    done = finish([sys.executable, "-c", TRAIN_ONLY, *arguments], data_cache)
    assert done.returncode == 0, done.stdout + done.stderr
    trained = SweepFolder(tmp_path)
    made = read_table(trained.points)
    assert len(made) == (4 if part else len(points))
    same_text = set(made.corpus_id) == set(points.corpus_id)
    if not same_text:
        within = OTHER_TEXT
    elif (record["machine"], record["jaxlib"]) != (cpu_name(), version("jaxlib")):
        within = ROUNDING
    else:
        within = GENERATION
    both = made.merge(points, on=["point_id", "run_id"] if same_text else ["rung", "n_tokens"])
    assert len(both) == len(made)
    np.testing.assert_allclose(both.loss_x, both.loss_y, rtol=0, atol=within)
    if same_text:
        curves = read_table(trained.curves)
        rows = curves.merge(read_table(STORED.curves), on=["run_id", "point_id", "step", "n_tokens", "flops"])
        assert len(rows) == len(curves)
        for column in ("train_loss", "eval_loss", "hidden_lr"):
            np.testing.assert_allclose(rows[f"{column}_x"], rows[f"{column}_y"], rtol=0, atol=10 * within)
