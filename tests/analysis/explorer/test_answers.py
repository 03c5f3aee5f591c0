"""Answers computed beforehand: for all laws together and for each alone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from analysis.averaging.average import average_laws
from analysis.averaging.quantities import averaged_frontier, frontiers_by_law
from analysis.explorer.answers import (
    BEYOND,
    FEWEST,
    LawAnswers,
    answers_of_laws,
    answers_with_a_part_left_out,
    budget_parts,
    budgets,
    demands,
)
from analysis.tables.table import LossTable, load_table
from harness.records.number_text import power_of_ten, si
from tests.analysis.prediction.test_predictor import runs
from tests.fakes.surfaces import CHINCHILLA

pytestmark = pytest.mark.usefixtures("few_starts")

LAWS = ("chinchilla", "joint", "quadrature")


@cache
def table() -> LossTable:
    return runs(0.004)


@cache
def answers() -> tuple[LawAnswers, ...]:
    return answers_of_laws(table(), LAWS, resamples=60)


@cache
def parts_left_out() -> tuple[LawAnswers, ...]:
    return answers_with_a_part_left_out(table(), LAWS, resamples=FEWEST)


def left_out(part: str) -> list[LawAnswers]:
    return [each for each in parts_left_out() if each.part == part]


def test_all_laws_come_first_then_each_by_weight() -> None:
    together, *alone = answers()
    assert together.name is together.weight is None
    assert {each.name for each in alone} == set(LAWS)
    weights = [each.weight or 0.0 for each in alone]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1)


def test_budgets_reach_from_the_smallest_run_far_beyond_the_largest() -> None:
    flops = budgets(table())
    assert flops[0] == pytest.approx(table().c.min())
    assert flops[-1] == pytest.approx(BEYOND * table().c.max())
    assert np.log10(flops[1:] / flops[:-1]).max() < 1 / 6


def test_frontiers_of_laws_searched_together_are_those_searched_alone() -> None:
    average = average_laws(table(), LAWS, resamples=FEWEST)
    flops = np.array([1e20, 1e21])
    together, alone = frontiers_by_law(average, table(), flops)
    assert together == averaged_frontier(average, table(), flops)
    for name in LAWS:
        assert alone[name] == averaged_frontier(average.alone(name), table(), flops)


def test_each_size_and_each_budget_is_left_out_once() -> None:
    sizes, bands = left_out("size"), left_out("budget")
    assert [each.left_out for each in sizes] == [f"{si(size)} parameters" for size in np.unique(table().n)]
    assert [each.left_out for each in bands] == list(budget_parts(table()))
    for each in (sizes, bands):
        unseen = np.array([one.unseen for one in each])
        assert (unseen.sum(axis=0) == 1).all()


def test_laws_are_weighed_anew_without_a_part() -> None:
    without = left_out("size")[-1]
    assert without.unseen is not None
    kept = average_laws(table().select(~without.unseen), LAWS, resamples=0).kept
    assert [share.law for share in without.irreducible.laws] == [entry.name for entry in kept]
    assert [share.weight for share in without.irreducible.laws] == [entry.weight for entry in kept]
    assert len(kept) > 1


def test_what_left_out_runs_say_does_not_matter_to_their_prediction() -> None:
    # The last size and the last budget share runs, which neither fit sees.
    size, band = left_out("size")[-1], left_out("budget")[-1]
    assert size.unseen is not None
    assert band.unseen is not None
    both = size.unseen & band.unseen
    spoiled = replace(table(), loss=np.where(both, 1.5, 1.0) * table().loss)
    found = answers_with_a_part_left_out(spoiled, LAWS, resamples=FEWEST)
    for known in (size, band):
        (without,) = (each for each in found if each.left_out == known.left_out)
        assert without.predicted == pytest.approx(known.predicted, rel=1e-6)
        assert [row.n_opt for row in without.frontier] == pytest.approx([row.n_opt for row in known.frontier])
        assert np.abs(table().loss / without.predicted - 1)[known.unseen].max() < 0.03


def test_budgets_of_a_grid_are_bands_and_those_of_slices_the_slices() -> None:
    parts = budget_parts(table())
    decades = np.log10(table().c.max() / table().c.min())
    assert len(parts) == round(2 * decades)
    ends = [(table().c[rows].min(), table().c[rows].max()) for rows in parts.values()]
    assert all(before < after for (_, before), (after, _) in itertools.pairwise(ends))
    assert next(iter(parts)).startswith(f"C from {power_of_ten(table().c.min())} to ")
    n, c = (axis.ravel() for axis in np.meshgrid([1e8, 3e8, 1e9], [1e19, 1e20, 1e21, 1e22]))
    frame = pd.DataFrame({"N": n, "D": c / (6 * n), "loss": CHINCHILLA.loss(n, c / (6 * n))})
    slices = budget_parts(load_table(frame))
    assert list(slices) == [f"C near {power_of_ten(each)}" for each in (1e19, 1e20, 1e21, 1e22)]
    assert all(rows.sum() == 3 for rows in slices.values())


def test_demands_begin_with_none_and_reach_far() -> None:
    assert demands()[0] == 0
    assert demands()[-1] == pytest.approx(1e4)
    assert (np.diff(demands()) > 0).all()
    for each in answers():
        assert each.demand.n.shape == (len(each.frontier[::12]), len(demands()))
        assert (np.diff(each.demand.n) < 0).all()


def test_few_sizes_are_not_left_out() -> None:
    few = table().select(table().n <= np.unique(table().n)[2])
    found = answers_with_a_part_left_out(few, LAWS, resamples=FEWEST)
    assert not any(each.part == "size" for each in found)


def test_the_right_law_is_right() -> None:
    (right,) = (each for each in answers() if each.name == "chinchilla")
    n, d = table().n, table().d
    assert np.abs(right.predicted / CHINCHILLA.loss(n, d) - 1).max() < 0.01
    row = min(right.frontier, key=lambda row: abs(np.log(row.flops / 1e21)))
    assert row.n_low < row.n_opt < row.n_high
    assert row.flat_low < row.n_opt < row.flat_high
    assert row.loss == pytest.approx(CHINCHILLA.loss(row.n_opt, row.d_opt), rel=0.01)
