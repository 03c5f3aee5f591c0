"""One recipe against itself: really trained runs of 100 seeds, in disjoint groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.compare.calibrate import compare_with_itself
from analysis.compare.difference import Difference, Estimate, difference_of
from analysis.compare.pairs import find_pairs
from analysis.intervals import LEVEL
from analysis.laws import find_law
from analysis.records.comparison import NoiseSource
from analysis.tables.seed_noise import KNOWN_DOF
from analysis.tables.table import LossTable, load_table
from tests import ROOT
from tests.fakes.arms import LAW, THETA

pytestmark = pytest.mark.usefixtures("few_starts")

STORED = ROOT / "tests/stored/same_recipe.parquet"


@pytest.mark.parametrize(("seeds", "comparisons"), [(2, 25), pytest.param(1, 50, marks=pytest.mark.slow)])
def test_a_recipe_seldom_differs_from_itself(seeds: int, comparisons: int) -> None:
    """About a tenth of comparisons at the 90 % level."""
    found = compare_with_itself(pd.read_parquet(STORED), seeds, resamples=20)
    print(f"{found.differ} of {len(found.rows)} differ")
    assert len(found.rows) == comparisons
    assert 0.04 <= found.share <= 0.16
    source = NoiseSource.SEEDS if seeds > 1 else NoiseSource.ASSUMED
    assert {row.noise.source for row in found.rows} <= {source, NoiseSource.MISSED}
    # The groups share no seed, so the comparisons are independent.
    names = [name for row in found.rows for name in (row.first, row.second)]
    assert len(set(names)) == 2 * comparisons


def differs(found: Difference, n: float, d: float) -> bool:
    """Whether the difference of log loss at a cell is significant."""
    place = np.log([n, d]) - found.centre
    slope = np.concatenate([[1.0], found.axes @ place])
    error = np.sqrt(slope @ found.covariance @ slope)
    known = found.dof >= KNOWN_DOF
    tail = stats.norm.ppf((1 + LEVEL) / 2) if known else stats.t.ppf((1 + LEVEL) / 2, found.dof)
    return bool(abs(slope @ found.value) > tail * error)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_random_groups_of_seeds_seldom_differ(seeds: int) -> None:
    """Far more groups than the disjoint ones above: each run belongs to many, so the level itself shows."""
    rng = np.random.default_rng(seeds)
    table = load_table(pd.read_parquet(STORED))
    assert table.seed is not None
    law = Estimate(find_law(LAW), THETA)
    cells = [(107_520, 6e5), (60_000, 4.6e5)]  # the optima at the largest and a middle budget
    found = []
    for _ in range(80):
        chosen = rng.permutation(np.unique(table.seed))[: 2 * seeds]
        arms: list[LossTable] = [
            table.select(np.isin(table.seed, group)) for group in (chosen[:seeds], chosen[seeds:])
        ]
        difference = difference_of(*arms, find_pairs(*arms), law)
        found.append([differs(difference, n, d) for n, d in cells])
    print(f"{seeds} seeds: {np.mean(found, axis=0)} differ")
    assert 0.04 <= np.mean(found) <= 0.16
