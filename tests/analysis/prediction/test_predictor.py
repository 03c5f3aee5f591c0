"""Answers of laws: closed forms, inverse questions, intervals that hold the truth, and what is refused."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.approaches.parametric import fit_law
from analysis.prediction.predictor import FARTHEST, Predictor
from analysis.records.predictions import Estimated
from analysis.records.warning_codes import WarningCode
from analysis.tables.table import LossTable, load_table
from harness.records.errors import InputError
from tests.fakes.surfaces import CHINCHILLA

SIZES, TOKENS = np.geomspace(5e7, 2e9, 6), np.geomspace(1e9, 4e10, 5)
CERTAIN = 1e-3  # a right interval fails the test of coverage so seldom
NOISE = 0.004


def runs(noise: float = 0.0, seed: int = 0) -> LossTable:
    """Separate runs of the Chinchilla law under C = 6·N·D."""
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS))
    shocks = noise * np.random.default_rng(seed).standard_normal(len(n))
    return load_table(pd.DataFrame({"N": n, "D": d, "loss": CHINCHILLA.loss(n, d) * np.exp(shocks)}))


@cache
def alone() -> Predictor:
    """The law by itself on runs without noise, without draws."""
    table = runs()
    return Predictor.of_fit(fit_law(table, "chinchilla", resamples=0), table)


def best_at(flops: float) -> tuple[float, float, float]:
    """N*, D* and the lowest loss in closed form (arXiv:2203.15556, equation 4)."""
    e, a, b, alpha, beta = CHINCHILLA.theta
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    n = g * (flops / 6) ** (beta / (alpha + beta))
    d = flops / (6 * n)
    return n, d, e + a * n**-alpha + b * d**-beta


def test_budget_is_divided_as_the_closed_form_says() -> None:
    found = alone().best(flops=1e21)
    n, d, loss = best_at(1e21)
    assert (found.n.value, found.d.value, found.loss.value) == pytest.approx((n, d, loss), rel=1e-3)
    assert found.n.interval is None
    assert found.loss.interval is None
    assert found.flat is not None
    assert found.flat[0] < n < found.flat[1]
    assert found.factor == pytest.approx(1e21 / (6 * SIZES[-1] * TOKENS[-1]))


@pytest.mark.parametrize("asked", ["n", "d", "loss"])
def test_each_quantity_leads_back_to_the_budget(asked: str) -> None:
    n, d, loss = best_at(3e20)
    found = alone().best(**{asked: {"n": n, "d": d, "loss": loss}[asked]})
    assert found.flops.value == pytest.approx(3e20, rel=5e-3)
    assert found.n.value * found.d.value * 6 == pytest.approx(found.flops.value, rel=1e-3)
    assert {"n": found.n, "d": found.d, "loss": found.loss}[asked].value == pytest.approx(
        {"n": n, "d": d, "loss": loss}[asked], rel=1e-12
    )


def test_run_has_the_loss_of_the_law_and_its_own_compute() -> None:
    found = alone().run(7e8, 5e10)
    assert found.loss.value == pytest.approx(float(CHINCHILLA.loss(7e8, 5e10)[0]), rel=1e-4)
    assert found.flops.value == pytest.approx(6 * 7e8 * 5e10)
    assert not found.optimal
    assert found.flat is None
    assert not found.warnings


def holds(found: Estimated, truth: float) -> bool:
    assert found.interval is not None
    return found.interval[0] <= truth <= found.interval[1]


def inside(table: LossTable, predictor: Predictor, rng: np.random.Generator) -> list[bool]:
    """Whether the intervals hold N*, D*, the budget for a loss and for a size, and the loss of a new run."""
    flops = 10 * float(table.c.max())
    n, d, loss = best_at(flops)
    budget, reaching, sized = (
        predictor.best(**{k: v}) for k, v in (("flops", flops), ("loss", loss), ("n", n))
    )
    run = predictor.run(n, d)
    return [
        holds(budget.n, n),
        holds(budget.d, d),
        holds(reaching.flops, flops),
        holds(sized.d, d),
        holds(run.loss, loss * np.exp(NOISE * rng.standard_normal())),
    ]


def coverage(sweeps: int, resamples: int, over_laws: bool) -> np.ndarray:
    """Share of simulated tables whose intervals hold the truth, by quantity."""
    found = []
    for seed in range(sweeps):
        table, rng = runs(NOISE, seed), np.random.default_rng(10_000 + seed)
        if over_laws:
            predictor = Predictor.over_laws(
                table, laws=["chinchilla", "joint"], resamples=resamples, seed=seed
            )
        else:
            fit = fit_law(table, "chinchilla", estimator="lsq", resamples=resamples, seed=seed)
            predictor = Predictor.of_fit(fit, table, seed=seed)
        found.append(inside(table, predictor, rng))
    return np.mean(found, axis=0)


def test_intervals_hold_the_truth() -> None:
    sweeps = 20
    least = stats.binom.ppf(CERTAIN, sweeps, 0.86) / sweeps
    assert coverage(sweeps, 60, over_laws=False).min() >= least


@pytest.mark.slow
@pytest.mark.parametrize("over_laws", [False, True])
def test_coverage(over_laws: bool) -> None:
    sweeps = 200
    found = coverage(sweeps, 200, over_laws)
    print(f"over laws: {over_laws}; N*, D*, C of a loss, D of a size, new run: {found.round(3)}")
    assert found.min() >= stats.binom.ppf(CERTAIN, sweeps, 0.86) / sweeps
    assert found.max() <= stats.binom.ppf(1 - CERTAIN, sweeps, 0.96) / sweeps


def test_beyond_the_runs_is_said_and_far_beyond_is_refused() -> None:
    largest = 6 * SIZES[-1] * TOKENS[-1]
    assert not alone().best(flops=20 * largest).warnings
    (far,) = alone().best(flops=100 * largest).warnings
    assert far.code is WarningCode.EXTRAPOLATION
    assert "100 times" in far.message
    (thin,) = alone().run(SIZES[-1] * 20, TOKENS[0]).warnings
    assert "20 times the largest fitted N" in thin.message
    with pytest.raises(InputError, match=r"C=9e\+25 takes 9×10²⁵ FLOPs and the fitted runs took"):
        alone().best(flops=9e25)
    with pytest.raises(InputError, match="the lowest loss is no smaller than"):
        alone().best(loss=1.7)
    with pytest.raises(InputError, match="the best size is no larger than"):
        alone().best(n=SIZES[-1] * FARTHEST)
    with pytest.raises(InputError, match="expected a positive number of tokens"):
        alone().run(1e9, -1)
    with pytest.raises(InputError, match="one of flops, n, d and loss was expected, got C, N"):
        alone().best(flops=1e20, n=1e9)


def test_loss_that_some_draws_never_reach_has_no_upper_end() -> None:
    table = runs(0.01, 3)
    predictor = Predictor.over_laws(table, laws=["chinchilla"], resamples=80)
    floor = predictor.best(flops=FARTHEST * float(table.c.max()) / 2).loss.value
    found = predictor.best(loss=floor + 0.002)
    assert found.flops.interval is not None
    assert np.isinf(found.flops.interval[1])


def test_laws_that_the_rows_cannot_hold_do_not_answer() -> None:
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES[:3], TOKENS[:2]))
    five = load_table(pd.DataFrame({"N": n, "D": d, "loss": CHINCHILLA.loss(n, d)})[:5])
    assert set(Predictor.over_laws(five, resamples=0).weights) <= {"chinchilla", "quadrature"}
    with pytest.raises(InputError, match="kaplan_n is no law in N and D: expected one that predicts runs"):
        Predictor.of_fit(fit_law(five, "kaplan_n", resamples=0), five)
