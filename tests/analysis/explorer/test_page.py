"""Data of a live page: each number is that of the tables."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from analysis.averaging.average import average_laws
from analysis.averaging.quantities import averaged_frontier
from analysis.explorer.page import Explored, explored, rounded
from analysis.report.build import Sweep, ordered_points, read_sweep
from analysis.tables.table import LossTable, load_table
from tests.fakes.sweep import make_sweep

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return read_sweep(make_sweep(tmp_path_factory.mktemp("results") / "fake"))


@pytest.fixture(scope="module")
def table(sweep: Sweep) -> LossTable:
    assert sweep.fits.primary
    return load_table(sweep.finished, count=sweep.fits.primary.count)


@pytest.fixture(scope="module")
def found(sweep: Sweep, table: LossTable) -> Explored:
    places = {index: place for place, index in enumerate(ordered_points(sweep).index)}
    return explored(sweep.finished, sweep.points, sweep.curves, sweep.fits, table, places, sweep.tried)


def test_runs_are_those_of_the_table_with_their_residuals(
    sweep: Sweep, table: LossTable, found: Explored
) -> None:
    done, ordered = sweep.finished, ordered_points(sweep)
    rows = found.data["runs"]
    assert len(rows) == len(done)
    for row, (_, point) in zip(rows, done.iterrows(), strict=True):
        listed = ordered.iloc[row["id"]]
        assert (listed["point_id"], row["run"], row["seed"]) == (
            point["point_id"],
            point["run_id"],
            point["seed"],
        )
        assert row["loss"] == pytest.approx(point["loss"], rel=1e-5)
        by_count = dict(zip(found.counts, row["n"], strict=True))
        assert by_count["all"] == pytest.approx(point["n_params"], rel=1e-5)
    fit = sweep.fits.quoted
    assert fit is not None
    assert fit.estimation is not None
    laws = [row.law for row in sweep.fits.contest if row.count == fit.count]
    average = average_laws(table, laws, resamples=fit.estimation.resamples, seed=0)
    middle, _, _ = average.new_runs(table.n, table.d, table.c)
    wanted = 100 * (table.loss / middle - 1)
    shown = [row["residual"][0] for row in rows]
    assert shown == pytest.approx(wanted.tolist(), abs=1e-3)


def test_frontier_is_that_of_the_study_at_its_budgets(
    sweep: Sweep, table: LossTable, found: Explored
) -> None:
    """Read between the budgets in logs, sizes and tokens are off by less than a thousandth."""
    fit = sweep.fits.quoted
    assert fit is not None
    assert fit.estimation is not None
    laws = [row.law for row in sweep.fits.contest if row.count == fit.count]
    average = average_laws(table, laws, resamples=fit.estimation.resamples, seed=0)
    flops = np.geomspace(table.c.min(), 10 * table.c.max(), 5)
    curve = found.data["frontier"][0]
    for row in averaged_frontier(average, table, flops, fit.level):
        for name, field in {
            "n": "n_opt",
            "d": "d_opt",
            "loss": "loss",
            "n_low": "n_low",
            "d_high": "d_high",
        }.items():
            read = np.exp(np.interp(np.log(row.flops), np.log(curve["c"]), np.log(curve[name])))
            assert read == pytest.approx(getattr(row, field), rel=2e-3), name


def test_labels_name_every_law_with_its_weight(found: Explored) -> None:
    assert found.laws[0] == "all laws, by weight"
    assert all(re.search(r", (weight [01]\.\d\d|excluded by all runs)$", label) for label in found.laws[1:])
    sizes, bands = found.left_out["size"], found.left_out["budget"]
    n_laws = len(found.laws + sizes + bands)
    assert all(
        len(found.data[name]) == n_laws for name in ("laws", "frontier", "left_out", "unseen", "demand")
    )
    assert [label.rpartition(" ")[2] for label in sizes] == ["d16", "d32", "d48", "d64", "d96"]
    assert all(" without C from " in label for label in bands)
    assert list(found.units) == ["nats", "bits", "perplexity"]


def test_speed_is_that_of_the_largest_run(sweep: Sweep, found: Explored) -> None:
    largest = sweep.finished.loc[sweep.finished["flops"].idxmax()]
    assert found.data["speed"] == pytest.approx(largest["flops"] / largest["seconds"], rel=1e-5)


def test_runs_that_a_law_did_not_see_are_those_of_its_part(sweep: Sweep, found: Explored) -> None:
    rung = {row["id"]: row["rung"] for row in found.data["runs"]}
    first = len(found.laws)
    for law, name in enumerate(found.left_out["size"], first):
        unseen = found.data["unseen"][law]
        assert {rung[each] for each in unseen} == {name.rpartition(" ")[2]}
        assert len(unseen) == (sweep.finished["rung"] == name.rpartition(" ")[2]).sum()
    bands = range(first + len(found.left_out["size"]), len(found.data["laws"]))
    assert sorted(each for law in bands for each in found.data["unseen"][law]) == sorted(rung)
    assert found.data["unseen"][0] == []


def test_sizes_under_every_count_are_those_of_the_runs(found: Explored) -> None:
    sizes = found.data["sizes"]
    assert found.counts == ("body and head", "all", "body")
    for row in found.data["runs"]:
        for count in (1, 2):
            read = np.exp(np.interp(np.log(row["n"][0]), np.log(sizes[0]), np.log(sizes[count])))
            assert read == pytest.approx(row["n"][count], rel=0.01)


@pytest.mark.parametrize(
    ("value", "short"),
    [
        (1 / 3, 0.333333),
        (2e13, 20000000000000),
        (math.nan, None),
        ({"a": [math.inf, 7]}, {"a": [None, 7]}),
        (True, True),
    ],
)
def test_numbers_are_short_and_finite(value: Any, short: Any) -> None:
    assert rounded(value) == short
    assert json.dumps(rounded(value), allow_nan=False) == json.dumps(short)


def test_without_a_law_there_are_the_runs_alone(sweep: Sweep) -> None:
    places = dict.fromkeys(sweep.finished.index, 0)
    plain = explored(sweep.finished, sweep.points, sweep.curves, sweep.fits, None, places)
    assert plain.laws == ()
    assert set(plain.data["charts"]) == {"overview", "loss_curves", "loss_against_compute"}
