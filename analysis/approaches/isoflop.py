"""IsoFLOP (approach 2): the best size at each budget, then N* and D* as power laws of C.

No law of the loss is assumed; only its minimum at fixed C is read. Interpolated slices are biased, because
sizes enter and leave the slices as C changes: the bias is measured by slicing a fitted law the same way.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.2; Porian et al. 2024, arXiv:2406.19146.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.approaches.slice_minimum import (
    AKIMA_SIZES,
    CUBIC_WINDOW,
    WINDOW,
    Method,
    Optimum,
    common_shape,
    optima,
    parabola_residuals,
)
from analysis.approaches.slices import TOLERANCE, Slice, interpolated_slices, measured_slices
from analysis.arrays import Array
from analysis.frontier import Surface, local_exponent
from analysis.intervals import LEVEL, percentile_interval
from analysis.laws import family
from analysis.records.fit import IsoflopRecord, OptimumRow, SlicingBiasRecord, finite
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit, Frontier
from analysis.tables.seed_noise import ASSUMED_SD, KNOWN_DOF, Noise, draw_noise, seed_noise
from analysis.tables.table import LossTable, TableLike, as_table
from harness.records.errors import InputError

Source = Literal["auto", "measured", "interpolated"]

MIN_SIZES = 5
FEWEST_SIZES = 3  # a parabola needs as many
MIN_BUDGETS = 3
FEW_RESIDUALS = 4  # degrees of freedom of the slices, below which the noise is read off a smooth surface
SHOWN = 5  # budgets that a text lists
DRAWS_FOR_WEIGHTS = 200  # of noise, for the standard errors of the optima if no interval is wanted


@dataclass(frozen=True)
class Lines:
    """Weighted regressions of log N* and log D* on log(C/6), with draws [resamples, (a, b, G)]."""

    a: float
    b: float
    g: float
    samples: Array


def fit_isoflop(
    table: TableLike,
    *,
    mapping: Mapping[str, str] | None = None,
    method: Method | None = None,
    slices: Source = "auto",
    tolerance: float = TOLERANCE,
    min_sizes: int = MIN_SIZES,
    noise: float | None = None,
    surface: Surface | None = None,
    resamples: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
) -> Fit:
    """Fit N* = G·(C/6)^a and D* ∝ C^b to the minima of the loss at fixed compute.

    Args:
        table: finished runs: a LossTable, or a frame or path that `load_table` reads.
        mapping: columns of a foreign table, as for `load_table`.
        method: `quadratic` is a parabola in log N at each budget, `akima` an Akima interpolant, `cubic` a
            cubic whose shape is common to all budgets. By default parabolas for measured slices, and cubics
            for interpolated ones, where parabolas are off by up to .1 in a.
        slices: `measured` groups rows within ± `tolerance` in log C; `interpolated` reads slices off a
            rectangle of N × D; `auto` takes the first if it gives three budgets.
        tolerance: half width of a budget in log C.
        min_sizes: least number of sizes at a budget.
        noise: relative standard deviation between seeds; measured from the table if None.
        surface: a fitted law with its cost; slicing it the same way shows the bias of interpolated slices.
        resamples: draws of the noise; 0 leaves out the intervals.
        level: share of the intervals.
        seed: of the draws.

    Returns:
        A fit with the parameters a, b and G. Intervals are percentiles under noise drawn per trunk. They are
        widened by the scatter of the optima about the line if their noise does not explain it. `isoflop` has
        the optima; one that does not count has a `reason`.

    Raises:
        InputError: fewer than three budgets with enough sizes, or fewer than three interior minima.

    References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.2.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> c, ratio = (x.ravel() for x in np.meshgrid([1e18, 1e19, 1e20, 1e21], np.geomspace(0.25, 4, 7)))
        >>> n = ratio * 1.3 * (c / 6) ** 0.45
        >>> d = c / (6 * n)
        >>> runs = pd.DataFrame({"N": n, "D": d, "C": c, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> print(f"a = {sl.fit_isoflop(runs, resamples=0).params['a']:.2f}")
        a = 0.45
    """
    start = time.perf_counter()
    table = as_table(table, mapping)
    table.require("IsoFLOP", "ndc")
    fewest = AKIMA_SIZES if method == "akima" else FEWEST_SIZES
    pieces, source, sizes = _choose_slices(table, slices, tolerance, max(min_sizes, fewest), fewest)
    method = _method(method, source, pieces, table)
    spread = Noise(noise, KNOWN_DOF, "given") if noise is not None else measured_noise(table, pieces, method)
    rng = np.random.default_rng(seed)
    shocks = draw_noise(table, spread, resamples or DRAWS_FOR_WEIGHTS, rng)
    found, n_draws, d_draws = optima(pieces, np.log(table.loss), shocks, method)
    lines = regress(found, n_draws, d_draws)
    ends = [percentile_interval(lines.samples[:, k], level) if resamples else None for k in (0, 1)]
    bias = slicing_bias(pieces, table, surface, method) if source == "interpolated" and surface else None
    return Fit(
        law="power_law",
        approach="isoflop",
        estimator=_estimator(method),
        count=table.count,
        nobs=len(table),
        n_clusters=len(np.unique(table.cluster)),
        estimates={"a": lines.a, "b": lines.b, "G": lines.g},
        level=level,
        frontier=Frontier(lines.a, ends[0], lines.b, ends[1], lines.g),
        samples=lines.samples if resamples else None,
        largest_c=float(np.exp(max(piece.log_c for piece in pieces))),
        warnings=(*_warnings(found, source, sizes, bias), *table.warnings),
        excluded=table.excluded,
        read_as=table.read_as,
        seconds=time.perf_counter() - start,
        isoflop=IsoflopRecord(
            slices=source,
            method=method,
            window=CUBIC_WINDOW if method == "cubic" else WINDOW,
            min_sizes=sizes,
            bias=bias,
            noise=spread.to_record(),
            optima=tuple(_optimum_row(optimum) for optimum in found),
        ),
    )


def _estimator(method: Method) -> str:
    if method == "akima":
        return "Akima interpolation, median over seed noise, weighted regression"
    if method == "cubic":
        return f"cubics of one shape through the {CUBIC_WINDOW} sizes around the lowest, weighted regression"
    return f"parabola through the {WINDOW} sizes around the lowest, weighted regression"


def _method(asked: Method | None, source: str, pieces: list[Slice], table: LossTable) -> Method:
    """Return the method that is asked for, or by default the one that suits the slices."""
    if asked in ("quadratic", "akima") or (asked is None and source == "measured"):
        return asked or "quadratic"
    if common_shape(pieces, np.log(table.loss)) is not None:
        return "cubic"
    if asked == "cubic":
        raise InputError(
            "cubics of one shape need more sizes at the budgets than they have parameters: add sizes, or use "
            "parabolas (quadratic)",
            "approach",
        )
    return "quadratic"


def _choose_slices(
    table: LossTable, source: Source, tolerance: float, min_sizes: int, fewest: int
) -> tuple[list[Slice], str, int]:
    """Return the slices with enough sizes, how they were made, and the least number of sizes."""
    if source != "interpolated":
        every = measured_slices(table.n, table.d, table.c, table.loss, tolerance)
        enough = [piece for piece in every if len(piece.log_n) >= min_sizes]
        if len(enough) >= MIN_BUDGETS:
            return enough, "measured", min_sizes
        if source == "measured":
            raise InputError(
                f"expected at least {MIN_BUDGETS} budgets with {min_sizes} sizes within "
                f"±{100 * tolerance:g} % in C, got {len(enough)} of {len(every)}: train an isoflop grid, "
                "or use the parametric approach",
                "approach",
            )
    for sizes in range(min_sizes, fewest - 1, -1):
        pieces = interpolated_slices(table.n, table.d, table.c, sizes)
        if len(pieces) >= MIN_BUDGETS:
            return pieces, "interpolated", sizes
    why = _too_few(table, fewest)
    raise InputError(f"expected at least {MIN_BUDGETS} budgets with several sizes; {why}", "approach")


def _too_few(table: LossTable, fewest: int) -> str:
    """Return what a table lacks for slices of `fewest` sizes, and what to add."""
    sizes, tokens = len(np.unique(table.n)), len(np.unique(table.d))
    if sizes < fewest:
        return f"the table has {sizes} size{'s'[: sizes - 1]}, {fewest} are needed at a budget: add sizes"
    if tokens == 1:
        return "every run has the same tokens, so each size has its own compute: add token counts"
    return (
        f"at fewer budgets {fewest} of its {sizes} sizes meet within ±{100 * TOLERANCE:g} % in C, or between "
        f"{tokens} token counts: add sizes or token counts that overlap in C, or use the parametric approach"
    )


def measured_noise(table: LossTable, pieces: list[Slice], method: Method) -> Noise:
    """Return the larger of the spread between seeds and the spread about the curves of the slices."""
    found = []
    total, dof = seed_noise(table)
    if dof >= 2:
        found.append(Noise(float(np.sqrt(total / dof)), dof, "seeds"))
    shape = common_shape(pieces, np.log(table.loss)) if method == "cubic" else None
    if shape is not None:
        variance, dof = shape.variance(pieces, table.cluster)
        source = "residuals of the cubics"
        if dof < FEW_RESIDUALS:
            variance, dof = _surface_residuals(table)
            source = "residuals of a cubic surface"
    else:
        total, dof = parabola_residuals(pieces, np.log(table.loss))
        variance, source = total / max(dof, 1), "residuals of the parabolas"
    if dof >= 2:
        found.append(Noise(float(np.sqrt(variance)), dof, source))
    return max(found, key=lambda noise: noise.sd, default=Noise(ASSUMED_SD, KNOWN_DOF, "assumed"))


def _surface_residuals(table: LossTable) -> tuple[float, int]:
    """Return the variance of log loss about a cubic polynomial in log N and log D, and its freedom."""
    n, d = (np.log(axis) - np.log(axis).mean() for axis in (table.n, table.d))
    terms = [n**i * d**j for i in range(4) for j in range(4 - i)]
    design = np.column_stack(terms)
    y = np.log(table.loss)
    coefficients, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    dof = len(y) - int(rank)
    return float(np.sum((y - design @ coefficients) ** 2)) / max(dof, 1), dof


def regress(found: list[Optimum], n_draws: Array, d_draws: Array) -> Lines:
    """Regress the optima that count on log(C/6), weighted by their standard errors.

    The draws are spread by sqrt(χ²/dof) if the optima scatter more than their standard errors say.

    Raises:
        InputError: fewer than three optima inside their slices.
    """
    used = np.array([optimum.reason is None for optimum in found])
    if used.sum() < MIN_BUDGETS:
        raise InputError(
            f"expected at least {MIN_BUDGETS} budgets with an interior minimum, got {used.sum()} of "
            f"{len(found)} ({_reasons(found)}): {_remedy(found)}"
        )
    kept = [optimum for optimum, keep in zip(found, used, strict=True) if keep]
    x = np.array([optimum.log_c for optimum in kept]) - np.log(6)
    weights = np.array([optimum.se**-2 for optimum in kept])
    log_n = np.array([[optimum.log_n] for optimum in kept])
    log_d = np.array([[optimum.log_d] for optimum in kept])
    columns, estimates = [], []
    # log N* and log D* are regressed apart: D* = C/(6·N*) holds for the exact minimum, not for measured ones.
    for y, draws in ((log_n, n_draws[used]), (log_d, d_draws[used])):
        slope, intercept = (float(value[0]) for value in weighted_line(x, y, weights))
        scatter = _scatter(y[:, 0] - intercept - slope * x, draws)
        slopes, intercepts = weighted_line(x, draws, weights)
        estimates += [slope, intercept]
        columns += [
            slope + scatter * (slopes - np.nanmedian(slopes)),
            intercept + scatter * (intercepts - np.nanmedian(intercepts)),
        ]
    samples = np.column_stack([columns[0], columns[2], np.exp(columns[1])])
    samples = samples[np.isfinite(samples).all(axis=1)]
    return Lines(estimates[0], estimates[2], float(np.exp(estimates[1])), samples)


def _reasons(found: list[Optimum]) -> str:
    """Return why optima do not count, the first ones, each with its budget."""
    left_out = [optimum for optimum in found if optimum.reason]
    said = [f"at C = {np.exp(optimum.log_c):.3g} {optimum.reason}" for optimum in left_out[:SHOWN]]
    return "; ".join(said) + (f"; and {len(left_out) - SHOWN} more" if left_out[SHOWN:] else "")


def _remedy(found: list[Optimum]) -> str:
    """Return what to do about optima that do not count."""
    left_out = [optimum for optimum in found if optimum.reason]
    remedies = []
    if any(optimum.at_edge for optimum in left_out):
        remedies.append("add sizes on both sides of the optimum")
    if not all(optimum.at_edge for optimum in left_out):
        remedies.append("leave out the runs that are off, or train them again")
    return ", and ".join(remedies)


def _scatter(resid: Array, draws: Array) -> float:
    """Return sqrt(χ²/dof) of the optima about their line, at least 1."""
    noise = np.nanstd(draws, axis=1)
    chi2 = float(np.sum((resid / np.where(noise > 0, noise, np.inf)) ** 2))
    return max(1.0, float(np.sqrt(chi2 / (len(resid) - 2))))


def weighted_line(x: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Return slope and intercept [draws] of y [points, draws] on x; each draw leaves out its NaN points."""
    w = np.where(np.isfinite(y), weights[:, None], 0.0)
    y = np.where(np.isfinite(y), y, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = w.sum(0)
        mean_x, mean_y = (w * x[:, None]).sum(0) / total, (w * y).sum(0) / total
        dx = x[:, None] - mean_x
        slope = (w * dx * (y - mean_y)).sum(0) / (w * dx**2).sum(0)
    return slope, mean_y - slope * mean_x


def slicing_bias(
    pieces: list[Slice], table: LossTable, surface: Surface, method: Method
) -> SlicingBiasRecord | None:
    """Slice the fitted surface as the table was sliced and compare with the surface's own frontier."""
    log_loss = np.log(surface.loss(table.n, table.d))
    found, _, _ = optima(pieces, log_loss, np.zeros((len(log_loss), 1)), method)
    kept = [optimum for optimum in found if optimum.reason is None]
    if len(kept) < MIN_BUDGETS:
        return None
    x = np.array([optimum.log_c for optimum in kept])
    y = np.array([[optimum.log_n] for optimum in kept])
    a_slices = float(weighted_line(x, y, np.ones(len(kept)))[0][0])
    a_surface = local_exponent(surface, np.exp(x))
    return SlicingBiasRecord(surface.name, a_slices, a_surface, difference=a_slices - a_surface)


def _warnings(
    found: list[Optimum], source: str, sizes: int, bias: SlicingBiasRecord | None
) -> list[FitWarning]:
    warnings = []
    edge = [optimum for optimum in found if optimum.reason]
    if edge:
        budgets = ", ".join(f"{np.exp(optimum.log_c):.3g}" for optimum in edge[:SHOWN])
        more = ", …" if edge[SHOWN:] else ""
        text = (
            f"{len(edge)} of {len(found)} budgets have no interior minimum and are left out "
            f"(C = {budgets}{more} FLOPs)"
        )
        odd = [optimum for optimum in edge if not optimum.at_edge]
        if odd:
            text += f"; {_reasons(odd)}"
        warnings.append(FitWarning(WarningCode.EDGE_OPTIMUM, text))
    if source == "interpolated":
        warnings.append(FitWarning(WarningCode.INTERPOLATED, _interpolated_text(sizes, bias)))
    if len(found) - len(edge) < 5:
        text = f"{len(found) - len(edge)} optima carry the exponent: five budgets over 100x in C are advised"
        warnings.append(FitWarning(WarningCode.FEW_BUDGETS, text))
    return warnings


def _interpolated_text(sizes: int, bias: SlicingBiasRecord | None) -> str:
    text = (
        f"slices are read off an interpolated rectangle ({sizes} sizes or more a budget): sizes enter "
        "and leave as C changes, which biases a"
    )
    if bias is None:
        return text
    return (
        f"{text}; the same slices of the fitted {family(bias.law)} surface give a = "
        f"{bias.a_slices:.3f} where its frontier has {bias.a_surface:.3f}"
    )


def _optimum_row(optimum: Optimum) -> OptimumRow:
    return OptimumRow(
        flops=float(np.exp(optimum.log_c)),
        n_opt=finite(np.exp(optimum.log_n)),
        d_opt=finite(np.exp(optimum.log_d)),
        loss=finite(np.exp(optimum.log_loss)),
        se_log_n=finite(optimum.se),
        n_sizes=optimum.n_sizes,
        reason=optimum.reason,
    )
