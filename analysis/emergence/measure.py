"""Statistics of one task along one axis, and the record that holds them with the verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.emergence.curve import Curve
from analysis.emergence.others_scores import breakthroughness, linearity
from analysis.emergence.read import EXACT, SMOOTH, name_of
from analysis.emergence.statistics.error_dependence import Answers, Dependence, dependence
from analysis.emergence.statistics.power import power
from analysis.emergence.statistics.seed_groups import MIN_SEEDS, SeedSplit, split_seeds
from analysis.emergence.statistics.sharpness import MIN_SIZES, SIGNIFICANCE
from analysis.emergence.statistics.smooth_law import MIN_VALUES, SmoothLaw, fit_smooth_law, improves
from analysis.emergence.statistics.two_step import forecast
from analysis.emergence.statistics.width import Jumps
from analysis.emergence.verdict import EXTRAPOLATES, Evidence, decide, label_of, sentence
from analysis.records.emergence import (
    Axis,
    DependenceRecord,
    DescriptiveRecord,
    ForecastRow,
    LawRecord,
    SeedGroupRecord,
    SharpnessRecord,
    SizeRow,
    TaskRecord,
    WidthRecord,
)

RULE_OF_THREE = 3.0  # with no hit among n items, the 95 % upper limit of the share is 3/n
UNKNOWN_ITEMS = 1000  # test items assumed if the table names no number
LUCK = 3.0  # standard errors above chance that exact match must exceed to count as learned


def examine(
    curve: Curve,
    items: pd.DataFrame | None,
    rng: np.random.Generator,
    seed: int,
    sharpness: SharpnessRecord,
    groups: tuple[SeedGroupRecord, ...],
    significance: float,
) -> TaskRecord:
    """Return the record of one task along one axis.

    Args:
        items: bit masks of the right positions, an item a row and a point a column; None without them.
        rng: generator of the bootstraps and of the simulated jumps.
        seed: seed of the simulated null of the sup-F test.
        sharpness: the sup-F test of this curve, corrected for the number of tasks.
        groups: the mixture tests of its sizes, corrected likewise.
        significance: level of a single sup-F test, for its power.
    """
    enough = curve.n_sizes >= MIN_SIZES
    law = fit_smooth_law(curve.x, curve.ln_nll, curve.n_seeds, rng) if curve.n_sizes >= MIN_VALUES else None
    errors = _dependence(curve, items, rng)
    length = errors.n_positions if errors else curve.length if curve.rows["n_items"].isna().all() else 0.0
    jump = best_jump(curve) if enough else None
    sharpness = _with_jump(sharpness, curve, jump) if jump else sharpness
    test_power = _power(curve, law, significance, seed, rng) if enough and law else None
    facts = _evidence(curve, sharpness, jump, test_power, errors)
    verdict = decide(facts)
    found_one = facts.p is not None and facts.p < SIGNIFICANCE
    return TaskRecord(
        task=curve.task,
        length=curve.length,
        axis=curve.axis,
        n_sizes=curve.n_sizes,
        n_seeds=int(curve.n_seeds.min()),
        n_shot=int(curve.rows["n_shot"].iloc[0]),
        split=curve.split,
        n_items=curve.n_items,
        n_positions=length or None,
        chance=curve.chance if curve.has_exact else None,
        chance_nll=curve.chance_nll,
        seed_sd=curve.seed_sd,
        sizes=_sizes(curve, law, errors, length),
        law=_law(law),
        fall_p=facts.fall_p,
        sharpness=sharpness,
        width=_width(jump) if jump else None,
        # The power of a test that rejects its null says nothing.
        power=None if found_one else test_power,
        dependence=None if errors is None else DependenceRecord(errors.effective, errors.effective_interval),
        forecast=_forecast(curve, law, rng) if verdict in EXTRAPOLATES else (),
        seed_groups=groups,
        descriptive=_scores(curve),
        name=name_of(curve.task, curve.length),
        verdict=verdict,
        label=label_of(verdict, curve.has_exact),
        words=sentence(verdict, facts),
    )


def best_jump(curve: Curve) -> Jumps:
    """Return the best jump on a slope with the limits of its width."""
    sd = curve.seed_sd
    freedom = 0 if sd is None else int(curve.n_seeds.sum()) - curve.n_sizes
    return curve.jump_grid.fit(curve.ln_nll[None], (sd or 0.0) ** 2, freedom)


def _with_jump(sharpness: SharpnessRecord, curve: Curve, jump: Jumps) -> SharpnessRecord:
    """Add the place and the share of the best jump, and the largest jump that the sizes allow."""
    start, end = (_number(jump.centre[0] + side * jump.width[0] / 2) for side in (-1, 1))
    largest = curve.design.largest(curve.ln_nll) / max(float(np.ptp(curve.ln_nll)), 1e-300)
    return replace(sharpness, start=start, end=end, share=_number(jump.share[0]), largest=min(largest, 1.0))


def seed_splits(curve: Curve) -> list[SeedSplit]:
    """Return the best cut into two groups of seeds for every size that has enough of them."""
    sizes = zip(curve.at, curve.rows.groupby("size"), strict=True)
    return [
        split_seeds(np.log(rows[SMOOTH].to_numpy(float)), float(at))
        for at, (_, rows) in sizes
        if len(rows) >= MIN_SEEDS
    ]


def _width(jump: Jumps) -> WidthRecord:
    return WidthRecord(
        width=_number(jump.width[0]),
        lower=_number(jump.lower[0]),
        upper=_number(jump.upper[0]),
        centre=_number(jump.centre[0]),
        drop=float(jump.height[0]),
        onset=bool(jump.onset[0]),
    )


def _power(curve: Curve, law: SmoothLaw, significance: float, seed: int, rng: np.random.Generator) -> float:
    """Return the power of the sup-F test if two thirds of the observed fall were one jump.

    The noise is the larger of the noise between seeds and the scatter about the law. With few seeds the
    first is poorly known, and without repetitions it is unknown.
    """
    y, between = curve.ln_nll, curve.seed_sd
    sd = max(between or 0.0, law.residual_sd * float(np.sqrt(curve.n_seeds.mean())))
    fall = max(float(y[:2].mean() - y[-2:].mean()), 0.0)
    return power(curve.design, fall, sd, significance, seed, rng)


def _law(law: SmoothLaw | None) -> LawRecord | None:
    if law is None:
        return None
    e, a, alpha = law.params.tolist()
    return LawRecord(e, a, alpha, law.interval(), law.origin, law.residual_sd)


def _dependence(curve: Curve, items: pd.DataFrame | None, rng: np.random.Generator) -> Dependence | None:
    """Return the dependence of errors, or None if some point of the curve has no item-level results."""
    if items is None:
        return None
    points = [rows["point_id"].tolist() for _, rows in curve.rows.groupby("size")]
    if items.empty or not {point for size in points for point in size} <= set(items.columns):
        return None
    positions = items["n_positions"].to_numpy(np.int64)
    sizes = [Answers.from_masks(items[size].to_numpy().T.astype(np.int64), positions) for size in points]
    return dependence(sizes, rng)


def _sizes(
    curve: Curve, law: SmoothLaw | None, errors: Dependence | None, length: float
) -> tuple[SizeRow, ...]:
    """Return the metrics by size, the predictors of exact match, and the law."""
    none = np.full(curve.n_sizes, np.nan)
    nll, groups = np.exp(curve.ln_nll), curve.rows["size"]
    spread = np.log(curve.rows[SMOOTH]).groupby(groups).std().to_numpy(float)
    fitted, (low, high) = (law.curve(curve.x), law.band(curve.x)) if law else (none, (none, none))
    exact, product, sampled, power_of = none, none, none, none
    if curve.has_exact:
        exact, sampled = curve.mean(EXACT), curve.mean("p_answer")
        product = curve.mean("position_accuracy_product")
        if length:
            # The power is taken before the mean over seeds: a power of a mean would be smaller.
            powers = curve.rows["position_accuracy"] ** length
            power_of = powers.groupby(groups).mean().to_numpy(float)
    upper = np.where(exact == 0, RULE_OF_THREE / curve.n_items, np.nan) if curve.n_items else none
    inside = np.clip(exact, 1e-12, 1 - 1e-12)
    loglog = np.where((exact > 0) & (exact < 1), np.log(-np.log(inside)), np.nan)
    predicted = length if curve.has_exact and length else np.nan
    return tuple(
        SizeRow(
            at=float(curve.at[i]),
            x=float(curve.x[i]),
            n_seeds=int(curve.n_seeds[i]),
            nll=float(nll[i]),
            ln_nll_sd=_number(spread[i]),
            law=_number(fitted[i]),
            law_low=_number(low[i]),
            law_high=_number(high[i]),
            exact=_number(exact[i]),
            product=_number(product[i]),
            p_answer=_number(sampled[i]),
            exact_upper=_number(upper[i]),
            loglog=_number(loglog[i]),
            accuracy_power=_number(power_of[i]),
            from_law=_number(np.exp(-predicted * fitted[i])),
            from_law_low=_number(np.exp(-predicted * high[i])),
            from_law_high=_number(np.exp(-predicted * low[i])),
            rho=errors.rho[i] if errors else _ratio(_number(exact[i]), _number(product[i])),
            rho_interval=errors.rho_interval[i] if errors else None,
        )
        for i in range(curve.n_sizes)
    )


def _number(value: float) -> float | None:
    """Return a finite number, or None for the missing value that NaN and ±∞ stand for in arrays."""
    return float(value) if np.isfinite(value) else None


def _ratio(exact: float | None, product: float | None) -> float | None:
    return exact / product if exact and product else None


def _forecast(curve: Curve, law: SmoothLaw | None, rng: np.random.Generator) -> tuple[ForecastRow, ...]:
    """Return exact match of larger models; nothing along the loss, because factors mean nothing there."""
    if law is None or not curve.has_exact or curve.axis == Axis.LOSS:
        return ()
    return forecast(law, curve.x, float(curve.at[-1]), curve.mean(EXACT), curve.chance or 0.0, rng)


def _scores(curve: Curve) -> DescriptiveRecord:
    # Both scores expect a metric that rises.
    smooth = -np.exp(curve.ln_nll)
    if not curve.has_exact:
        return DescriptiveRecord(breakthroughness(smooth), linearity(smooth))
    exact = curve.mean(EXACT)
    return DescriptiveRecord(
        breakthroughness(smooth), linearity(smooth), breakthroughness(exact), linearity(exact)
    )


def _evidence(
    curve: Curve,
    sharpness: SharpnessRecord,
    jump: Jumps | None,
    test_power: float | None,
    errors: Dependence | None,
) -> Evidence:
    """Return the statistics that the rules of the verdict compare."""
    chance, n = curve.chance or 0.0, curve.n_items or UNKNOWN_ITEMS
    last = max(curve.n_sizes // 3, 1)
    gain = None
    if curve.chance_nll:
        gain = float(np.exp(curve.ln_nll[-last:]).mean()) / curve.chance_nll
    effective = None
    if errors and errors.effective_interval:
        low, high = errors.effective_interval
        effective = low / errors.n_positions, high / errors.n_positions
    return Evidence(
        n_sizes=curve.n_sizes,
        p=sharpness.p_holm,
        p_alone=sharpness.p,
        height=float(jump.height[0]) if jump else 0.0,
        share=sharpness.share or 0.0,
        lower=float(jump.lower[0]) if jump else np.nan,
        upper=float(jump.upper[0]) if jump and np.isfinite(jump.width[0]) else np.inf,
        onset=bool(jump and jump.onset[0]),
        largest=sharpness.largest,
        power=test_power or 0.0,
        fall_p=improves(curve.x, curve.ln_nll, curve.n_seeds),
        gain=gain,
        exact=curve.mean(EXACT) - chance if curve.has_exact else None,
        # A chance level of 0 would make the standard error 0: one lucky item of n is allowed for.
        exact_limit=LUCK * float(np.sqrt(max(chance * (1 - chance), 1 / n) / n)),
        effective=effective,
    )
