"""Fits of whole-curve laws give back the truth of simulated curves."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.curves.curve import Curve
from analysis.curves.fit import Prior, fit_curves
from analysis.laws.annealing import CURVE_LAWS, Schedule

TRUE = {25: (3.0, 0.5, 0.5, 400.0), 100: (2.6, 0.6, 0.45, 450.0)}
KERNEL = (2.0, 0.4, 0.25)
STEPS = np.arange(1_500, 12_001, 250)


def curve(own: tuple[float, ...], last: int, noise: float = 0.0) -> Curve:
    step = np.arange(12_001)
    rate = 3e-4 * np.minimum(1.0, step / 1_000) * np.clip((12_500 - step) / (12_500 - last), 0, 1)
    schedule = Schedule.compressed(rate, STEPS)
    loss = CURVE_LAWS["stretched"].loss([*own, *KERNEL], schedule.at(STEPS))
    return Curve.of(
        schedule, STEPS, loss * np.exp(noise * np.random.default_rng(last).normal(size=len(STEPS)))
    )


def test_two_sizes_share_a_kernel() -> None:
    curves = [curve(own, last) for own in TRUE.values() for last in (12_000, 6_000, 9_000)]
    start = np.array([1.1, -1.6, -0.7, 6.0, 1.0, -1.5, -0.7, 6.0, 0.5, -0.7, 0.25])
    prior = Prior(start, np.append(np.full(10, np.inf), 0.0))
    fit = fit_curves(CURVE_LAWS["stretched"], curves, [0, 0, 0, 1, 1, 1], [start], prior=prior)
    for group, own in enumerate(TRUE.values()):
        assert fit.theta(group) == pytest.approx([*own, *KERNEL], rel=0.02)
        assert fit.estimates(group)["E"] == pytest.approx(own[0], rel=0.005)


def test_the_covariance_is_that_of_redrawn_noise() -> None:
    """Standard error of ln E over 60 redrawn noises, against the one of a single fit."""
    start = np.array([np.log(3.0), -1.6, np.log(0.5), np.log(400.0), np.log(2.0), np.log(0.4), 0.25])
    prior = Prior(start, np.array([np.inf, np.inf, np.inf, 0.0, 0.0, 0.0, 0.0]))
    clean, errors = curve(TRUE[25], 12_000), np.full(len(STEPS), 0.004)
    random, found, stated = np.random.default_rng(0), [], []
    for _ in range(60):
        noisy = Curve.of(clean.schedule, STEPS, clean.loss * np.exp(0.004 * random.normal(size=len(STEPS))))
        fit = fit_curves(
            CURVE_LAWS["stretched"], [noisy], [0], [start], prior=prior, errors=[errors], width=np.inf
        )
        found.append(fit.z[0])
        stated.append(np.sqrt(fit.covariance[0, 0]))
    assert np.std(found) == pytest.approx(np.median(stated), rel=0.3)


def test_bins_keep_the_mean_and_count_the_rows() -> None:
    long = Curve.of(
        Schedule.logged(np.arange(1, 1_001), np.ones(1_000)), np.arange(1, 1_001), np.full(1_000, 2.0)
    )
    few = long.binned(20)
    assert len(few.steps) <= 20
    assert few.rows.sum() == 1_000
    assert few.loss == pytest.approx(2.0)


def test_noise_of_a_row_does_not_see_the_trend() -> None:
    random = np.random.default_rng(1)
    steps = np.arange(1.0, 801.0)
    noisy = Curve.of(
        Schedule.logged(steps, np.ones(800)), steps, 3 * steps**-0.2 * np.exp(0.01 * random.normal(size=800))
    )
    assert noisy.noise() == pytest.approx(0.01, rel=0.2)
