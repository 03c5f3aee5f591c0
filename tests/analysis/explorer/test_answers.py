"""Answers computed beforehand: for all laws together and for each alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from analysis.averaging.average import average_laws
from analysis.averaging.quantities import averaged_frontier, frontiers_by_law
from analysis.explorer.answers import (
    BEYOND,
    FEWEST,
    LawAnswers,
    answers_of_laws,
    answers_without_each_size,
    budgets,
)
from analysis.tables.table import LossTable
from harness.records.number_text import si
from tests.analysis.prediction.test_predictor import runs
from tests.fakes.surfaces import CHINCHILLA

LAWS = ("chinchilla", "joint", "quadrature")


@cache
def table() -> LossTable:
    return runs(0.004)


@cache
def answers() -> tuple[LawAnswers, ...]:
    return answers_of_laws(table(), LAWS, resamples=60)


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


def test_each_size_is_left_out_once_and_predicted_by_the_others() -> None:
    found = answers_without_each_size(table(), "chinchilla", resamples=FEWEST)
    sizes = np.unique(table().n)
    assert [each.left_out for each in found] == [f"{si(size)} parameters" for size in sizes]
    spoiled = replace(table(), loss=np.where(table().n == sizes[2], 1.5, 1.0) * table().loss)
    without = answers_without_each_size(spoiled, "chinchilla", resamples=FEWEST)[2]
    # What the left-out runs say does not matter to the law that is fitted without them.
    assert without.predicted == pytest.approx(found[2].predicted, rel=1e-6)
    assert [row.n_opt for row in without.frontier] == pytest.approx([row.n_opt for row in found[2].frontier])
    unseen = table().n == sizes[2]
    assert np.abs(table().loss / without.predicted - 1)[unseen].max() < 0.02


def test_few_sizes_are_not_left_out() -> None:
    few = table().select(table().n <= np.unique(table().n)[2])
    assert answers_without_each_size(few, "chinchilla", resamples=FEWEST) == ()


def test_the_right_law_is_right() -> None:
    (right,) = (each for each in answers() if each.name == "chinchilla")
    n, d = table().n, table().d
    assert np.abs(right.predicted / CHINCHILLA.loss(n, d) - 1).max() < 0.01
    row = min(right.frontier, key=lambda row: abs(np.log(row.flops / 1e21)))
    assert row.n_low < row.n_opt < row.n_high
    assert row.flat_low < row.n_opt < row.flat_high
    assert row.loss == pytest.approx(CHINCHILLA.loss(row.n_opt, row.d_opt), rel=0.01)
