"""Coverage and width of what is stated over laws, on sweeps whose true law is known.

Coverage alone is bounded from one side: an interval without end holds every truth. So widths and interval
scores are held to the figures of results/LOG.md, "Coverage on other designs", and to those of fixed seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.arrays import Array
from tests.analysis.averaging.designs import DESIGNS, TRUTHS, UNLIMITED, Outcome, simulate

CERTAIN = 1e-3  # a right interval fails one of these tests so seldom
SMALL = "trunks of two seeds"
# Geometric means over the fixed seeds of the quick tests: width of the interval of E, nats, and of the widest
# one of a cell ahead, % of the loss. Other numbers of resamples move them by 13 % or less. At half their
# width, intervals of 90 % would hold the truth in 59 %.
WIDTHS = {
    SMALL: (0.264, 2.96),
    "grid of two seeds": (0.587, 5.02),
    "trunks of one seed": (0.491, 3.96),
    "isoflop": (0.0802, 1.59),
}
SAME_WIDTH = 1.25
# Mean interval scores, % of the loss, of 50 or 60 sweeps of each truth (results/LOG.md). The score of a sweep
# varies by half its mean or less, so the mean of 100 new sweeps lies above MOST times these once in 1000.
SCORES = {
    "default grid": (2.4, 3.9, 5.6, 3.5, 3.8),
    "grid of two seeds": (3.2, 4.7, 6.9, 4.8, 4.7),
    SMALL: (2.1, 2.0, 2.4, 2.4, 2.4),
    "trunks of one seed": (3.0, 3.0, 3.5, 3.5, 3.5),
    "isoflop": (1.6, 1.9, 2.3, 1.9, 2.1),
}
MOST = 1.3


def least(sweeps: int, coverage: float = 0.86) -> int:
    """Fewest intervals that hold the truth, if each does with the least probability that is claimed."""
    return int(stats.binom.ppf(CERTAIN, sweeps, coverage))


def check_widths(design: str, found: list[Outcome]) -> None:
    """Hold the widths of fixed seeds to WIDTHS, from both sides."""
    logs = [(np.log(each.e_width), np.log(100 * np.log(each.widest))) for each in found]
    ratio = np.exp(np.mean(logs, axis=0)) / WIDTHS[design]
    assert np.all((ratio > 1 / SAME_WIDTH) & (ratio < SAME_WIDTH)), ratio


def ahead_of(found: list[Outcome]) -> tuple[Array, Array]:
    """Share of the cells ahead that are inside, and of those at ten times the compute or more [sweeps]."""
    inside = np.array([each.inside for each in found])
    return inside.mean(axis=1), inside[:, found[0].factor >= 10].mean(axis=1)


def test_intervals_over_the_laws_hold_the_truth() -> None:
    """Small sweeps of two seeds: E, a, N* at ten times the compute, and the dearest run ahead.

    Each is held to the least coverage of this design in results/LOG.md.
    """
    found = [simulate(truth, DESIGNS[SMALL], seed, resamples=60) for truth in TRUTHS for seed in range(7)]
    assert sum(each.e_inside for each in found) >= least(len(found), 0.94)
    assert sum(each.a_inside for each in found) >= least(len(found))
    assert sum(each.n_inside for each in found) >= least(len(found), 0.88)
    assert sum(each.inside[int(np.argmax(each.factor))] for each in found) >= least(len(found), 0.94)
    check_widths(SMALL, found)
    # The score of a sweep varies by a fifth of its mean here, so three errors of this mean are a tenth.
    assert np.mean([each.score for each in found]) <= 1.1 * np.mean(SCORES[SMALL])


@pytest.mark.parametrize("design", ["grid of two seeds", "trunks of one seed", "isoflop"])
def test_intervals_hold_on_other_designs(design: str) -> None:
    """Few sweeps of each truth: E, a, N* at ten times the compute, and all runs ahead."""
    found = [simulate(truth, DESIGNS[design], seed, resamples=40) for truth in TRUTHS for seed in range(2)]
    shares = np.mean([(each.e_inside, each.a_inside, each.n_inside) for each in found], axis=0)
    ahead = float(np.mean(ahead_of(found)[0]))
    print(f"{design}: E, a, N* {shares}, ahead {ahead:.2f}")
    assert shares.min() >= least(len(found)) / len(found)
    # The runs ahead of a sweep err alike, but not all of them: their mean share is steadier than one.
    assert ahead >= 0.75
    check_widths(design, found)


def check_without_limits(found: list[Outcome], score: float) -> None:
    """Hold new runs of a saturating truth inside, by laws that do not know its limits U and V."""
    inside, far = ahead_of(found)
    assert inside.mean() >= least(len(found)) / len(found)
    assert far.mean() >= least(len(found)) / len(found)
    assert np.mean([each.score for each in found]) <= MOST * score


def test_a_new_run_without_limits() -> None:
    found = [simulate("saturating", DESIGNS[SMALL], seed, 40, laws=UNLIMITED) for seed in range(4)]
    check_without_limits(found, 2.5)


@pytest.mark.slow
@pytest.mark.parametrize(("design", "score"), [(SMALL, 2.5), ("grid of two seeds", 6.5)])
def test_new_runs_without_limits_in_full(design: str, score: float) -> None:
    check_without_limits(
        [simulate("saturating", DESIGNS[design], seed, 200, laws=UNLIMITED) for seed in range(100)], score
    )


# An entangled truth, which no law has, is claimed to be held less often: E in .78 to .85 for a joint truth, a
# in .88 and N* in .75 at least (results/LOG.md). On IsoFLOP cells nothing is claimed, because separate runs
# without repeats do not show that no law holds.
ENTANGLED = 0.002
CLAIMED = {"E": 0.78, "a": 0.88, "N*": 0.75}
EXCEPTION = ("isoflop", ENTANGLED)
FOUND = 0.25  # share of runs at ten times the compute that are held at least in the exception


@pytest.mark.slow
@pytest.mark.parametrize("entangled", [0.0, ENTANGLED])
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("truth", TRUTHS)
def test_coverage(design: str, truth: str, entangled: float) -> None:
    """Of E, a, N*, all cells ahead, and those at ten times the fitted compute or more; 100 sweeps each."""
    sweeps = 100
    found = [simulate(truth, DESIGNS[design], seed, 200, entangled) for seed in range(sweeps)]
    inside, far = (float(share.mean()) for share in ahead_of(found))
    shares = {
        "E": float(np.mean([each.e_inside for each in found])),
        "a": float(np.mean([each.a_inside for each in found])),
        "N*": float(np.mean([each.n_inside for each in found])),
    }
    score = float(np.mean([each.score for each in found]))
    widest = np.array([each.widest for each in found])
    print(
        f"{design}, {truth}, entangled {entangled:g}: {shares}, ahead {inside:.3f}, at 10 times {far:.3f}, "
        f"score {score:.2f} %, widest over median {np.log(widest.max()) / np.log(np.median(widest)):.2f}"
    )
    # The cells of one sweep share the error of its laws, so a sweep counts as one draw.
    if (design, entangled) == EXCEPTION:
        assert far >= least(sweeps, FOUND) / sweeps
        if truth in ("saturating", "bounded"):
            assert far < least(sweeps) / sweeps, "the exception has become a rule: claim it"
        return
    assert inside >= least(sweeps) / sweeps
    assert far >= least(sweeps) / sweeps
    if entangled == 0:
        assert min(shares.values()) >= least(sweeps) / sweeps
        assert score <= MOST * SCORES[design][list(TRUTHS).index(truth)]
    elif truth in ("joint", "saturating"):
        assert all(shares[name] >= least(sweeps, share) / sweeps for name, share in CLAIMED.items()), shares
