"""IsoFLOP: frozen surfaces, interior minima, published exponents, coverage of the intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.stats import binom

from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.slice_minimum import Method, optima
from analysis.approaches.slices import Slice, interpolated_slices, measured_slices, rows_by_flops
from analysis.arrays import Array
from analysis.frontier import Surface, table_cost
from analysis.records.warning_codes import WarningCode
from analysis.tables.table import LossTable, load_table
from harness.records.errors import InputError
from harness.records.number_text import si
from tests.fakes.surfaces import (
    CHINCHILLA,
    F64,
    SMALL_ADDITIVE,
    SMALL_JOINT,
    TIED,
    WIDTHS,
    Truth,
    counts,
    foreign_table,
    isoflop_frame,
    sweep_points,
)

BUDGETS = np.geomspace(1e17, 1e20, 6)


@pytest.mark.parametrize("truth", [CHINCHILLA, TIED])
@pytest.mark.parametrize("method", ["quadratic", "akima"])
def test_exponent_of_a_noise_free_surface(truth: Truth, method: str) -> None:
    table = foreign_table(isoflop_frame(truth, BUDGETS))
    fit = fit_isoflop(table, method=method, noise=1e-5, resamples=50)  # type: ignore[arg-type]
    assert fit.frontier.a == pytest.approx(truth.a, abs=0.003)
    assert fit.frontier.b == pytest.approx(1 - fit.frontier.a, abs=1e-6)
    assert fit.isoflop.slices == "measured"


def test_budgets_are_windows_in_log_c() -> None:
    c = np.array([1e17, 1.03e17, 1.09e17, 1.2e17, 2e17])
    assert [len(group) for group in rows_by_flops(c, 0.05)] == [3, 1, 1]


def test_rows_off_their_budget_are_moved_to_its_centre() -> None:
    frame = isoflop_frame(CHINCHILLA, BUDGETS, off_budget=0.04)
    fit = fit_isoflop(foreign_table(frame), tolerance=0.05, noise=1e-5, resamples=50)
    assert fit.frontier.a == pytest.approx(CHINCHILLA.a, abs=0.005)
    shifted = measured_slices(*(frame[key].to_numpy() for key in ("n", "d", "c", "loss")))
    assert max(np.abs(piece.shift).max() for piece in shifted) > 1e-4


def test_an_edge_optimum_is_left_out_with_a_reason() -> None:
    frame = isoflop_frame(CHINCHILLA, BUDGETS)
    last = np.isclose(frame.c, BUDGETS[-1])
    frame.loc[last, "n"] *= 10
    frame.loc[last, "d"] /= 10
    frame.loc[last, "loss"] = CHINCHILLA.loss(frame.n[last].to_numpy(), frame.d[last].to_numpy())
    fit = fit_isoflop(foreign_table(frame), noise=1e-5, resamples=50)
    reasons = [row.reason for row in fit.isoflop.optima]
    assert [reason is None for reason in reasons] == [True] * 5 + [False]
    smallest = si(frame.n[last].min())
    assert reasons[-1] == f"no interior minimum: the loss is lowest at the smallest size, N = {smallest}"
    assert WarningCode.EDGE_OPTIMUM in {warning.code for warning in fit.warnings}
    assert fit.frontier.a == pytest.approx(CHINCHILLA.a, abs=0.003)


def bent_slice(off: dict[int, float]) -> pd.DataFrame:
    """Four budgets of seven sizes; at the first, runs are off by factors {position: factor}."""
    frame = isoflop_frame(CHINCHILLA, BUDGETS[:4]).sort_values(["c", "n"], ignore_index=True)
    for position, factor in off.items():
        frame.loc[position, "loss"] *= factor
    return frame


@pytest.mark.parametrize(
    ("off", "wanted"),
    [
        (
            {3: 1.09},
            "has its minimum beyond them: the run at N = {n} lies 9 % above its neighbours",
        ),
        ({4: 0.98, 5: 0.99}, None),
    ],
)
def test_a_run_that_is_off_is_named(off: dict[int, float], wanted: str | None) -> None:
    frame = bent_slice(off)
    found = fit_isoflop(foreign_table(frame), noise=1e-5, resamples=50)
    reason = found.isoflop.optima[0].reason
    if wanted is None:
        assert reason is None
        return
    named = wanted.format(n=si(frame.n[next(iter(off))]))
    assert reason.endswith(named)
    (edge,) = [warning for warning in found.warnings if warning.code is WarningCode.EDGE_OPTIMUM]
    assert edge.message.startswith("1 of 4 budgets have no interior minimum and are left out (C = 1")
    assert edge.message.endswith(named)


def test_every_reason_for_a_missing_minimum_is_its_own() -> None:
    x = np.log([1e6, 2e6, 4e6, 8e6, 16e6])
    falling, rising = np.array([4.0, 3, 2, 1.5, 1]), np.array([1, 1.5, 2, 3, 4.0])
    assert "lowest at the largest size, N = 16M" in reason_of("quadratic", x, falling)
    assert "lowest at the smallest size, N = 1M" in reason_of("akima", x, rising)
    high = np.array([1.05, 1.0, 1.3, 0.99, 1.0])
    assert "has no minimum: the run at N = 4M lies 3" in reason_of("quadratic", x, high)
    assert "above its neighbours" in reason_of("quadratic", x, high)
    # A published grid, its losses made a little different; the fourth size is the lowest.
    sizes = np.log([4.6e6, 12e6, 28e6, 50e6, 100e6])
    bad = np.log([1.76768, 1.6877, 1.80563, 1.65912, 1.68578])
    assert reason_of("quadratic", sizes, bad) == (
        "the parabola through the 5 sizes around the lowest has no minimum: "
        "the run at N = 28M lies 8.9 % above its neighbours"
    )
    assert reason_of("akima", sizes, bad) is None
    low = np.array([1.2, 1.19, 1.17, 0.5, 1.12])
    assert reason_of("akima", x, low) is None
    steep = np.array([5.0, 4.0, 3.1, 1.0, 1.01])
    assert reason_of("quadratic", x, steep) == (
        "the parabola through the 5 sizes around the lowest has its minimum beyond them: the run at N = 8M "
        "lies 65 % below its neighbours"
    )


def reason_of(method: Method, x: Array, y: Array) -> str | None:
    piece = Slice(0.0, x, -x, csr_array(np.eye(len(x))), np.arange(len(x)), np.zeros(len(x)))
    (optimum,), _, _ = optima([piece], y, np.zeros((len(x), 1)), method)
    return optimum.reason


def test_an_error_gives_the_reason_of_each_budget() -> None:
    frame = bent_slice({3: 1.09})
    rising = frame.c > frame.c.min()
    frame.loc[rising, "loss"] = 3 + 0.1 * np.log(frame.n[rising])
    with pytest.raises(InputError, match="interior minimum, got 0 of 4") as raised:
        fit_isoflop(foreign_table(frame), slices="measured")
    text = str(raised.value)
    assert f"beyond them: the run at N = {si(frame.n[3])} lies 9 % above its neighbours" in text
    assert text.count("the loss is lowest at the smallest size") == 3
    assert "add sizes on both sides of the optimum, and leave out the runs that are off" in text


@pytest.mark.parametrize(
    ("sizes", "tokens", "wanted"),
    [
        (2, 5, "the table has 2 sizes, 3 are needed at a budget: add sizes"),
        (5, 1, "every run has the same tokens, so each size has its own compute: add token counts"),
    ],
)
def test_too_few_sizes_or_token_counts_are_told_apart(sizes: int, tokens: int, wanted: str) -> None:
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, sizes), np.geomspace(1e9, 1e10, tokens)))
    frame = pd.DataFrame({"N": n, "D": d, "loss": CHINCHILLA.loss(n, d)})
    with pytest.raises(InputError, match=wanted):
        fit_isoflop(frame)


def test_too_few_budgets_is_an_input_error() -> None:
    with pytest.raises(InputError, match="at least 3 budgets"):
        fit_isoflop(foreign_table(isoflop_frame(CHINCHILLA, BUDGETS[:2])), slices="measured")


def test_no_interior_minimum_anywhere_is_an_input_error() -> None:
    frame = isoflop_frame(CHINCHILLA, BUDGETS)
    frame["loss"] = 3 + 0.1 * np.log(frame.n)
    with pytest.raises(InputError, match="interior minimum, got 0 of 6"):
        fit_isoflop(foreign_table(frame))


def test_two_sizes_cannot_be_sliced() -> None:
    frame = isoflop_frame(CHINCHILLA, BUDGETS, sizes=2)
    with pytest.raises(InputError, match="add sizes or token counts that overlap in C"):
        fit_isoflop(foreign_table(frame))


def test_seeds_of_a_cell_are_averaged() -> None:
    frame = isoflop_frame(CHINCHILLA, BUDGETS)
    up, down = (frame.assign(loss=frame.loss * factor) for factor in (1.01, 1 / 1.01))
    both = fit_isoflop(foreign_table(pd.concat([up, down], ignore_index=True)), noise=1e-4, resamples=50)
    assert both.frontier.a == pytest.approx(
        fit_isoflop(foreign_table(frame), noise=1e-4, resamples=50).frontier.a, abs=1e-9
    )


def test_without_resamples_there_are_estimates_and_no_intervals() -> None:
    fit = fit_isoflop(foreign_table(isoflop_frame(CHINCHILLA, BUDGETS)), resamples=0)
    assert fit.frontier.a == pytest.approx(CHINCHILLA.a, abs=0.003)
    assert fit.frontier.a_interval is None
    with pytest.raises(InputError, match="fit_isoflop"):
        fit.conf_int()


def test_interpolated_slices_state_their_bias() -> None:
    table = load_table(sweep_points(SMALL_ADDITIVE, seed_sd=0.0), count="n_params_body")
    matmul = {counts(width)["n_params_body"]: counts(width)["n_params_matmul"] for width in WIDTHS}

    def loss(n_body: F64, d: F64) -> F64:
        x, y = (np.log(np.array(list(side), float)) for side in (matmul.keys(), matmul.values()))
        return SMALL_ADDITIVE.loss(np.exp(np.interp(np.log(n_body), x, y)), d)

    surface = Surface("truth", loss, table_cost(table), (float(table.n.min()), float(table.n.max())))
    fit = fit_isoflop(table, method="quadratic", noise=1e-5, surface=surface, resamples=50)
    bias = fit.isoflop.bias
    assert fit.isoflop.slices == "interpolated"
    assert fit.frontier.a == pytest.approx(bias.a_slices, abs=0.01)
    assert bias.difference < -0.01
    text = next(w.message for w in fit.warnings if w.code is WarningCode.INTERPOLATED)
    assert f"{bias.a_surface:.3f}" in text


def test_interpolation_meets_the_cells_and_the_surface() -> None:
    table = load_table(sweep_points(SMALL_JOINT, seed_sd=0.0))
    cost = table_cost(table)
    for piece in interpolated_slices(table.n, table.d, table.c, 3):
        n, d = np.exp(piece.log_n), np.exp(piece.log_d)
        np.testing.assert_allclose(d, np.exp(piece.log_c) / cost(n), rtol=1e-9)
        np.testing.assert_allclose(
            np.exp(piece.log_loss(np.log(table.loss))), SMALL_JOINT.loss(n, d), rtol=2e-3
        )


def covered(truths: int, method: str, noise: float) -> int:
    """How many nominal 90 % intervals of a hold the truth, over independent tables with noise."""
    hits = 0
    for seed in range(truths):
        frame = isoflop_frame(CHINCHILLA, BUDGETS, noise=noise, rng=np.random.default_rng(seed))
        fit = fit_isoflop(foreign_table(frame), method=method, resamples=200, level=0.9)  # type: ignore[arg-type]
        assert fit.frontier.a_interval is not None
        low, high = fit.frontier.a_interval
        hits += low <= CHINCHILLA.a <= high
    return hits


def least_hits(truths: int, share: float) -> int:
    """Fewer hits than this happen to a true coverage of `share` once in a thousand suites."""
    return int(binom.ppf(1e-3, truths, share))


LOPSIDED = [(0.34, 0.34), (0.6, 0.3), (0.3, 0.6)]
GRIDS = [(8, 6), (6, 5), (5, 5)]


def rectangle(alpha: float, beta: float, sizes: int, tokens: int, noise: float, seed: int) -> LossTable:
    """Sizes over 100 times and token counts over 100 times; both terms are equal at the centre."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(3e7, 3e9, sizes), np.geomspace(1e9, 1e11, tokens)))
    loss = 1.7 + 0.35 * (n / 3e8) ** -alpha + 0.35 * (d / 1e10) ** -beta
    shocks = noise * np.random.default_rng(seed).standard_normal(len(n))
    return load_table(pd.DataFrame({"N": n, "D": d, "loss": loss * np.exp(shocks)}))


@pytest.mark.parametrize(("alpha", "beta"), LOPSIDED)
@pytest.mark.parametrize(("sizes", "tokens"), GRIDS)
def test_interpolated_slices_are_not_biased(alpha: float, beta: float, sizes: int, tokens: int) -> None:
    """Parabolas are, by up to .1, because sizes lie unevenly about a minimum that is steeper on one side."""
    table = rectangle(alpha, beta, sizes, tokens, 0.0, 0)
    fit = fit_isoflop(table, noise=1e-5, resamples=20)
    assert fit.isoflop.method == "cubic"
    assert fit.isoflop.slices == "interpolated"
    assert fit.frontier.a == pytest.approx(beta / (alpha + beta), abs=0.006)


def test_parabolas_of_interpolated_slices_are_biased_and_say_so() -> None:
    table = rectangle(0.6, 0.3, 6, 5, 0.0, 0)
    surface = Surface(
        "truth",
        lambda n, d: 1.7 + 0.35 * (n / 3e8) ** -0.6 + 0.35 * (d / 1e10) ** -0.3,
        lambda n: 6 * n,
        (1e6, 1e11),
    )
    biases = {}
    for method in ("quadratic", "cubic"):
        fit = fit_isoflop(table, method=method, noise=1e-5, resamples=20, surface=surface)  # type: ignore[arg-type]
        biases[method] = fit.isoflop.bias.difference
    assert biases["quadratic"] > 0.08
    assert abs(biases["cubic"]) < 0.006


def covered_between_cells(alpha: float, beta: float, grid: tuple[int, int], noise: float, count: int) -> int:
    hits = 0
    for seed in range(count):
        fit = fit_isoflop(rectangle(alpha, beta, *grid, noise, seed), resamples=150)
        assert fit.frontier.a_interval is not None
        low, high = fit.frontier.a_interval
        hits += low <= beta / (alpha + beta) <= high
    return hits


@pytest.mark.parametrize(("alpha", "beta"), LOPSIDED)
def test_coverage_of_interpolated_slices(alpha: float, beta: float) -> None:
    assert covered_between_cells(alpha, beta, (8, 6), 0.003, 20) >= least_hits(20, 0.88)


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "beta"), LOPSIDED)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("noise", [0.001, 0.003])
def test_coverage_of_interpolated_slices_in_full(
    alpha: float, beta: float, grid: tuple[int, int], noise: float
) -> None:
    assert covered_between_cells(alpha, beta, grid, noise, 200) >= 0.86 * 200 - 4


def test_cubics_need_more_sizes_than_parameters() -> None:
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e8, 9e8, 3), np.geomspace(1e9, 1e11, 8)))
    table = load_table(pd.DataFrame({"N": n, "D": d, "loss": CHINCHILLA.loss(n, d)}))
    assert fit_isoflop(table, resamples=0).isoflop.method == "quadratic"
    with pytest.raises(InputError, match="cubics of one shape need more sizes"):
        fit_isoflop(table, method="cubic")


@pytest.mark.parametrize("method", ["quadratic", "akima"])
def test_coverage(method: str) -> None:
    assert covered(150, method, 0.003) >= least_hits(150, 0.88)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["quadratic", "akima"])
@pytest.mark.parametrize("noise", [0.001, 0.003])
def test_coverage_in_full(method: str, noise: float) -> None:
    assert 0.86 <= covered(1000, method, noise) / 1000 <= 0.96


def test_the_optimum_lies_on_its_parabola() -> None:
    """A star of the figure is on the curve, not on the straight line between two sizes."""
    x = np.array([0.0, 1.0, 2.0, 3.0])
    y = (x - 1.4) ** 2 + 0.5
    piece = Slice(0.0, x, -x, csr_array(np.eye(4)), np.arange(4), np.zeros(4))
    (optimum,), _, _ = optima([piece], y, np.zeros((4, 1)), "quadratic")
    assert optimum.log_n == pytest.approx(1.4)
    assert optimum.log_loss == pytest.approx(0.5)
