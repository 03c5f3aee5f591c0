"""The saturating law: its limits, its name, its frontier, and a table that carries the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.parametric import fit_law, jackknife
from analysis.contest.recommended import compare_approaches
from analysis.cost import six_n
from analysis.frontier import Surface, exponent, optimum, surface_of
from analysis.laws import find_law, with_limits
from analysis.laws.saturating import name_of
from analysis.tables.table import load_table
from harness.records.errors import InputError
from tests.fakes.tables import LIMITS, SATURATING, ladder, saturates

LAW = find_law(name_of(*LIMITS))


def test_without_size_or_data_the_limits_remain() -> None:
    n, d = np.array([1e-9, 1e15, 1e15]), np.array([1e15, 1e-9, 1e18])
    np.testing.assert_allclose(LAW.value(SATURATING, n, d), [*LIMITS, SATURATING[0]], atol=1e-3)


def test_low_losses_follow_the_additive_law() -> None:
    n, d = np.array([1e12, 2e13]), np.array([1e14, 1e13])
    additive = find_law("chinchilla").value(SATURATING, n, d)
    np.testing.assert_allclose(LAW.value(SATURATING, n, d) - 1.55, additive - 1.55, rtol=0.02)


def test_parameters_are_recovered() -> None:
    table = ladder(saturates, np.random.default_rng(3), noise=1e-5, limits=True)
    found = fit_law(table, "saturating", resamples=0)
    assert found.law == "saturating(5.3000,6.2383)"
    np.testing.assert_allclose(found.theta[[0, 3, 4]], SATURATING[[0, 3, 4]], rtol=2e-3)
    np.testing.assert_allclose(found.predict(table.n, table.d), saturates(table.n, table.d), rtol=1e-4)


def test_exponents_are_those_of_the_searched_optima() -> None:
    """The loss is no function of s + t alone, so β/(α + β) is only the limit at large compute."""
    table = ladder(saturates, np.random.default_rng(3), limits=True)
    fit = fit_law(table, "saturating", resamples=0)
    alpha, beta = fit.params["alpha"], fit.params["beta"]
    assert LAW.frontier(fit.theta) is None
    spent = 6 * table.n * table.d
    flops = np.geomspace(spent.min(), spent.max(), 30)
    searched = exponent(flops, optimum(surface_of(fit, table, six_n), flops)[0])[0]
    assert fit.frontier.a == pytest.approx(searched, abs=2e-3)
    assert fit.frontier.a + fit.frontier.b == pytest.approx(1)
    assert fit.frontier.a > beta / (alpha + beta) + 0.005
    far = exponent(
        flops * 1e12, optimum(replace(surface_of(fit, table, six_n), n_range=(1e3, 1e16)), flops * 1e12)[0]
    )
    assert far[0] == pytest.approx(beta / (alpha + beta), abs=2e-3)


def test_equal_limits_leave_the_closed_frontier() -> None:
    law = find_law("saturating(6,6)")
    closed = law.frontier(SATURATING)
    assert closed is not None
    flops = np.geomspace(1e12, 1e15, 4)
    surface = Surface(law.name, lambda n, d: law.value(SATURATING, n, d), six_n, (1e3, 1e9))
    np.testing.assert_allclose(optimum(surface, flops)[0][0], closed.g * (flops / 6) ** closed.a, rtol=1e-3)


def test_intervals_and_jackknife_use_the_same_exponent() -> None:
    table = ladder(saturates, np.random.default_rng(3), limits=True)
    fit = fit_law(table, "saturating", resamples=40)
    low, high = fit.frontier.a_interval or (1.0, 0.0)
    without = [row.a for row in jackknife(table, fit.law).a]
    assert low <= (fit.frontier.a or 0) <= high
    assert len(without) == 6
    assert abs(np.mean(without) - (fit.frontier.a or 0)) < 0.02


def test_the_name_carries_the_limits() -> None:
    assert with_limits("saturating", (5.30124, 6.23832)) == "saturating(5.3012,6.2383)"
    assert with_limits("joint", None) == "joint"
    assert "5.3" in LAW.formula
    for text in ("saturating(7,6)", "saturating(0,6)", "saturating(5..3,6)", "saturating(U,V)", "saturating"):
        with pytest.raises(InputError, match=r"type saturating\(U,V\) with .*0 < U ≤ V"):
            find_law(text)
    assert find_law(" saturating( 5.3 , 6.2383 )").name == LAW.name
    with pytest.raises(InputError, match=r"did you mean saturating\?"):
        find_law("saturatin")
    with pytest.raises(InputError, match="map columns to unigram and vocab"):
        with_limits("saturating", None)


@pytest.mark.parametrize("approach", [fit_law, compare_approaches])
def test_a_limit_below_the_losses_is_refused(approach: Callable[..., object]) -> None:
    """U in bits per byte, say: such a law has no loss as high as those of the table."""
    table = ladder(saturates, np.random.default_rng(3))
    for law in ("saturating(1.0,1.5)", "saturating(1.0,1.5)[E=0.5]"):
        with pytest.raises(InputError, match=r"no loss above U = 1, and the lowest .* is 2\.177:"):
            approach(table, law, resamples=0)


NAMED = {"unigram": "unigram", "vocab": "vocab"}


@pytest.mark.parametrize(
    ("columns", "limits"),
    [
        ({"unigram_nats": 5.3, "vocab_size": 512}, LIMITS),
        ({"unigram_nats": 6.25, "vocab_size": 512}, (LIMITS[1], LIMITS[1])),
        ({"unigram_nats": [5.3, 5.2, 5.3], "vocab_size": 512}, None),
        ({"unigram_nats": 5.3, "vocab_size": [512, 512, 1024]}, None),
        ({"unigram_nats": [5.3, None, 5.3], "vocab_size": 512}, None),
        ({"vocab_size": 512}, None),
        ({"unigram_nats": 0.0, "vocab_size": 512}, None),
    ],
)
def test_limits_of_a_table(columns: dict[str, object], limits: tuple[float, float] | None) -> None:
    frame = pd.DataFrame({"N": [1e4, 2e4, 4e4], "D": 1e6, "loss": [3.0, 2.9, 2.8]}).assign(**columns)
    mapped = {"unigram": "unigram_nats", "vocab": "vocab_size"}
    mapping = {name: column for name, column in mapped.items() if column in columns}
    assert load_table(frame, mapping=mapping).limits == (None if limits is None else pytest.approx(limits))


def test_rows_left_out_do_not_count_for_the_limits() -> None:
    frame = pd.DataFrame(
        {"N": [1e4, 2e4], "D": 1e6, "loss": [3.0, -1.0], "vocab": 512, "unigram": [5.3, 5.1]}
    )
    assert load_table(frame, mapping=NAMED).limits == pytest.approx(LIMITS)


def test_a_unigram_loss_above_the_uniform_guess_is_refused() -> None:
    frame = pd.DataFrame({"N": [1e4, 2e4], "D": 1e6, "loss": [3.0, 2.9], "vocab": 512, "unigram": 7.65})
    with pytest.raises(InputError, match=r"a unigram model is 7\.65, above .* 6\.238 nats"):
        load_table(frame, mapping=NAMED)
    with pytest.raises(InputError, match=r"a unigram model is 1\.8, not above the lowest .*, 2\.9 nats"):
        load_table(frame.assign(unigram=1.8), mapping=NAMED)
