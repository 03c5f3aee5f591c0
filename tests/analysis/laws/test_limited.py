"""Parameters held or bounded by the name of the law."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.approaches.parametric import fit_law
from analysis.laws import family, find_law, with_limits
from analysis.uncertainty.adequacy import adequacy
from harness.records.errors import InputError
from tests.fakes.tables import LIMITS, additive, ladder, saturates

TABLE = ladder(additive, np.random.default_rng(0))


def test_a_held_parameter_stays_and_the_others_are_refitted() -> None:
    held = fit_law(TABLE, "chinchilla[E=1.7]", resamples=100)
    free = fit_law(TABLE, "chinchilla", resamples=0)
    assert held.params["E"] == 1.7
    assert held.conf_int().loc["E"].isna().all(), "what is fixed has no interval"
    assert held.conf_int().drop(index="E").notna().all(axis=None)
    assert held.objective is not None
    assert free.objective is not None
    assert held.objective > free.objective
    assert held.params["alpha"] != pytest.approx(free.params["alpha"], rel=1e-3)
    assert "active_bound" not in [warning.code.value for warning in held.warnings]
    assert find_law(held.law).n_free == 4


def test_gamma_held_at_one_is_the_additive_law() -> None:
    held = fit_law(TABLE, "joint[gamma=1]", resamples=0)
    free = fit_law(TABLE, "chinchilla", resamples=0)
    np.testing.assert_allclose(held.theta[:5], free.theta, rtol=1e-4)


def test_a_bound_that_binds_is_a_warning() -> None:
    bounded = fit_law(TABLE, "chinchilla[alpha=0.1:0.2]", resamples=0)
    assert bounded.params["alpha"] == pytest.approx(0.2)
    assert "active_bound" in [warning.code.value for warning in bounded.warnings]


def test_limits_travel_with_the_name() -> None:
    table = ladder(saturates, np.random.default_rng(0), limits=True)
    fit = fit_law(table, "saturating[E=1.5]", resamples=0)
    assert fit.law == f"saturating({LIMITS[0]:.4f},{LIMITS[1]:.4f})[E=1.5]"
    assert family(fit.law) == "saturating[E=1.5]"
    assert with_limits(fit.law, None) == fit.law
    np.testing.assert_allclose(np.exp(fit.resid) * fit.predict(table.n, table.d), table.loss)
    assert adequacy(table, fit.law).residual_rms > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chinchilla[A=3]", "expected one of E, alpha, beta;"),
        ("chinchilla[E=1.7", "lack their closing bracket"),
        ("chinchilla[E=low]", "no range of E between 0 and inf"),
        ("chinchilla[alpha=0.4:0.3]", "no range of alpha"),
        ("chinchilla[E=9]", "E is fixed at 9, the lowest loss is"),
        ("broken_c[X=1]", "expected one of E, kappa, kappa_after, width;"),
    ],
)
def test_wrong_limits_are_one_sentence(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        fit_law(TABLE, name, resamples=0)
