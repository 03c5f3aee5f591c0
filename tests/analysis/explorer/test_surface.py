"""Losses over size and tokens: what the page holds is what the laws say."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.averaging.average import average_laws
from analysis.explorer.answers import BEYOND, MOST_OF_GRID, grid
from analysis.explorer.surface import UNIT, reach_of, surface_data
from analysis.frontier import table_cost
from tests.analysis.explorer.test_answers import LAWS, answers, table

pytestmark = pytest.mark.usefixtures("few_starts")


def test_losses_of_the_page_are_those_of_the_laws_on_the_grid() -> None:
    found, average = surface_data(answers(), table()), average_laws(table(), LAWS, resamples=60)
    n, d = np.meshgrid(found["n"], found["d"], indexing="ij")
    flops = table_cost(table())(n) * d
    assert len(found["losses"]) == len(answers())
    for name, steps in zip([each.name for each in answers()], found["losses"], strict=True):
        law = average if name is None else average.alone(name)
        wanted = law.new_runs(n.ravel(), d.ravel(), flops.ravel())[0]
        assert np.cumsum(steps) * UNIT == pytest.approx(wanted, abs=0.51 * UNIT)


def test_grid_holds_the_runs_and_the_best_run_of_a_thousand_times_their_compute() -> None:
    n, d = grid(table())
    assert max(len(n), len(d)) <= MOST_OF_GRID
    for axis, own in ((n, table().n), (d, table().d)):
        assert axis[0] < own.min()
        assert axis[-1] > own.max()
    for each in answers():
        best = each.frontier[-1]
        assert best.flops == pytest.approx(BEYOND * table().c.max())
        assert n[0] < best.n_opt < n[-1]
        assert d[0] < best.d_opt < d[-1]


def test_axes_of_the_contours_hold_the_runs_under_every_count() -> None:
    points = table().points().assign(body=0.5 * table().n)
    points["size"] = table().n
    reach = reach_of(points, ["size", "body"], table())
    for (low, high), count in zip(reach.n, ("size", "body"), strict=True):
        assert low < points[count].min() < points[count].max() < high
    assert reach.d[0] < table().d.min() < table().d.max() < reach.d[1]
    assert reach.largest == table().c.max()
    assert 10.0 ** reach.decades[0] < table().c.min() < table().c.max() < 10.0 ** reach.decades[1]
