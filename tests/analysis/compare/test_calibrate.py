"""One recipe against itself: really trained runs of 100 seeds, in disjoint groups."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.compare.calibrate import compare_with_itself
from analysis.records.comparison import NoiseSource
from tests import ROOT

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
