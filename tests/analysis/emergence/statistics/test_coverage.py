"""Every interval that the analysis of emergence prints covers simulated truths about as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.emergence.statistics.error_dependence import Answers, dependence
from analysis.emergence.statistics.sharpness import Design
from analysis.emergence.statistics.smooth_law import fit_smooth_law
from analysis.emergence.statistics.two_step import FACTORS, forecast
from analysis.emergence.statistics.width import JumpGrid
from tests.fakes.emergence import jump, sizes

X = np.log10(sizes() / sizes()[0])
WEIGHT = np.full(len(X), 5.0)
LAWS = [(0.4, 0.0, 0.75), (0.7, 0.0, 1.2), (1.1, 0.0, 2.0), (0.8, 0.1, 1.2), (0.8, 0.3, 1.2)]


def law_hits(alpha: float, floor: float, a: float, sd: float, draws: int) -> np.ndarray:
    """Shares of truths inside: alpha, the curve, the forecasts of exact match."""
    rng = np.random.default_rng(23)

    def truth(x: np.ndarray) -> np.ndarray:
        return np.asarray(floor + a * 10 ** (-alpha * x))

    hits = np.zeros((draws, 5))
    for hit in hits:
        y = np.log(truth(X)) + sd / np.sqrt(5) * rng.standard_normal(len(X))
        law = fit_smooth_law(X, y, WEIGHT, rng)
        low, high = law.interval()
        under, over = law.band(X)
        exact = np.exp(-5 * truth(X)) + 0.01 * rng.standard_normal(len(X))
        ahead = np.exp(-5 * truth(X[-1] + np.log10(FACTORS)))
        rows = forecast(law, X, 1.0, exact, 0.0, rng)
        inside = [row.low <= value <= row.high for row, value in zip(rows, ahead, strict=True)]
        hit[:] = [low <= alpha <= high, np.mean((under <= truth(X)) & (truth(X) <= over)), *inside]
    return np.asarray(hits.mean(axis=0))


def test_a_law_and_its_forecast_hold_the_truth_most_of_the_time() -> None:
    assert np.all(law_hits(0.7, 0.0, 1.2, 0.1, draws=12) >= 0.6)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [0.1, 0.04])
@pytest.mark.parametrize(("alpha", "floor", "a"), LAWS)
def test_law_band_and_forecast_cover_at_90_percent(alpha: float, floor: float, a: float, sd: float) -> None:
    found = law_hits(alpha, floor, a, sd, draws=200)
    assert np.all(found >= 0.84), found


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize(("width", "drop"), [(0.3, 1.5), (0.5, 1.0), (0.8, 2.0), (1.5, 2.0)])
def test_limits_of_the_width_cover_at_95_percent(width: float, drop: float, alpha: float) -> None:
    rng = np.random.default_rng(5)
    y = jump(drop, 0.7, width, alpha=alpha)(X) + 0.1 / np.sqrt(5) * rng.standard_normal((400, len(X)))
    freedom = 4 * len(X)
    found = JumpGrid(Design(X, WEIGHT)).fit(y, 0.01 * rng.chisquare(freedom, 400) / freedom, freedom)
    # Without a slope the slope that may not rise narrows the jump: then the upper limit covers 90 %.
    assert np.mean(found.upper >= width) >= (0.85 if alpha == 0 else 0.915)
    assert np.mean(found.lower <= width) >= 0.915


def item_hits(rng: np.random.Generator, draws: int, n_items: int = 400) -> tuple[float, float]:
    """Shares of ρ and of effective positions inside; models fixed, items drawn, errors dependent by item.

    A position is right with probability e^(−level·hard), hard log-normal; the truth is from many items.
    """
    levels, length, seeds, spread = (0.1, 0.2, 0.4), 6, 2, 0.6

    def answers(n: int, own: np.random.Generator) -> list[Answers]:
        hard = np.exp(spread * own.standard_normal(n))
        positions = np.full(n, length)
        shape = (seeds, n, length)
        return [Answers(own.random(shape) < np.exp(-level * hard)[:, None], positions) for level in levels]

    many = dependence(answers(400_000, rng), rng, resamples=2)
    rho, effective = [], []
    for _ in range(draws):
        found = dependence(answers(n_items, rng), rng)
        rho += [
            low <= truth <= high
            for (low, high), truth in zip(
                (pair or (0, 0) for pair in found.rho_interval), many.rho, strict=True
            )
            if truth is not None
        ]
        assert found.effective_interval is not None
        assert many.effective is not None
        effective.append(found.effective_interval[0] <= many.effective <= found.effective_interval[1])
    return float(np.mean(rho)), float(np.mean(effective))


@pytest.mark.slow
def test_ratio_to_independent_errors_covers_at_90_percent() -> None:
    rho, effective = item_hits(np.random.default_rng(9), 300)
    assert 0.86 <= rho <= 0.94
    assert 0.86 <= effective <= 0.94
