"""Coverage, interval score and spread against numbers worked out elsewhere, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from analysis.intervals import interval_score
from analysis.replications.measures import (
    coverage,
    share_interval,
    spread,
    widest_over_median,
)


def test_interval_score_by_hand() -> None:
    """Width 2; a miss by .5 at 90 % costs 2/.1·.5 = 10 more."""
    low, high = np.array([1.0, 1.0, 1.0]), np.array([3.0, 3.0, 3.0])
    found = interval_score(low, high, np.array([2.0, 0.5, 3.5]), 0.9)
    np.testing.assert_allclose(found, [2.0, 12.0, 12.0])


def test_the_true_quantiles_have_the_lowest_interval_score() -> None:
    """The score is proper: of all half-widths the true one of a normal is best."""
    values = np.random.default_rng(0).normal(size=40_000)
    scores = {h: interval_score(np.full(1, -h), np.full(1, h), values, 0.9).mean() for h in (1.3, 1.645, 2.1)}
    assert min(scores, key=scores.__getitem__) == 1.645


@pytest.mark.parametrize(("inside", "n"), [(9, 10), (10, 10), (0, 10), (17, 20)])
def test_single_trials_have_the_exact_binomial_interval(inside: int, n: int) -> None:
    hits = [1] * inside + [0] * (n - inside)
    exact = binomtest(inside, n).proportion_ci(0.9)
    found = coverage(hits, [1] * n, 0.9)
    assert (found.n, found.inside, found.share) == (n, inside, inside / n)
    assert found.interval == pytest.approx((exact.low, exact.high))


def test_clusters_that_go_wrong_together_count_as_one() -> None:
    """Ten clusters of ten, each all right or all wrong, are worth no more than ten trials."""
    together = coverage([10] * 9 + [0], [10] * 10, 0.9)
    apart = coverage([9] * 10, [10] * 10, 0.9)
    assert together.share == apart.share == 0.9
    assert together.interval is not None
    assert apart.interval is not None
    single = coverage([1] * 9 + [0], [1] * 10, 0.9).interval
    assert single is not None
    assert together.interval[1] - together.interval[0] >= single[1] - single[0]
    assert coverage([10] * 10, [10] * 10, 0.9).interval == pytest.approx(
        tuple(binomtest(10, 10).proportion_ci(0.9))
    )


def test_the_interval_of_a_share_covers_under_clustering() -> None:
    """Beta-binomial clusters of mean .9: 90 % intervals hold .9 in 90 % of the cases or a little more.

    Of 400 draws at least .87 do by chance in all but 3 of 100 cases, if the true share is .9.
    """
    rng, n, m = np.random.default_rng(1), 20, 10
    shares = rng.beta(9 * 2, 1 * 2, (400, n))
    hits = rng.binomial(m, shares).astype(float)
    ends = np.array([share_interval(row, np.full(n, float(m)), 0.9) for row in hits])
    holds = (ends[:, 0] <= 0.9) & (ends[:, 1] >= 0.9)
    assert 0.87 < holds.mean() < 0.98


def test_nothing_judged_has_no_share() -> None:
    found = coverage([], [], 0.9)
    assert (found.n, found.share, found.interval) == (0, None, None)


def test_spread_and_widths() -> None:
    found = spread([3.0, 1.0, 2.0, 5.0, 4.0])
    assert (found.n, found.mean, found.median, found.quartiles, found.range) == (5, 3, 3, (2, 4), (1, 5))
    widths = np.array([[1.0, 2.0], [1.0, 2.0], [4.0, 3.0]])
    assert widest_over_median(widths) == 4.0
