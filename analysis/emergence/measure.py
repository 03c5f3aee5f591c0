"""Everything that is measured on one curve, before a verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.emergence.curve import Curve
from analysis.emergence.others_scores import breakthroughness, linearity
from analysis.emergence.read import EXACT, SMOOTH
from analysis.emergence.statistics.error_dependence import Answers, Dependence, dependence
from analysis.emergence.statistics.power import power
from analysis.emergence.statistics.seed_groups import MIN_SEEDS, seed_groups
from analysis.emergence.statistics.sharpness import MIN_SIZES
from analysis.emergence.statistics.smooth_law import MIN_VALUES, SmoothLaw, fit_smooth_law, improves
from analysis.emergence.statistics.two_step import forecast
from analysis.emergence.statistics.width import LogisticGrid
from analysis.emergence.verdict import Evidence

Json = dict[str, Any]

RULE_OF_THREE = 3.0  # no hit in n items: below 3/n with 95 %


def describe(
    curve: Curve, items: pd.DataFrame | None, rng: np.random.Generator, seed: int, level: float
) -> Json:
    """The entry of one task × length × axis in emergence.json but for its verdict; `level` of one test."""
    enough = curve.n_sizes >= MIN_SIZES
    law = fit_smooth_law(curve.x, curve.ln_nll, curve.n_seeds, rng) if curve.n_sizes >= MIN_VALUES else None
    errors = _dependence(curve, items, rng)
    length = errors.n_positions if errors else curve.length if curve.rows["n_items"].isna().all() else 0.0
    exact = curve.mean(EXACT) if curve.has_exact else None
    return {
        "task": curve.task,
        "length": curve.length,
        "axis": curve.axis,
        "n_sizes": curve.n_sizes,
        "n_seeds": int(curve.n_seeds.min()),
        "n_shot": int(curve.rows["n_shot"].iloc[0]),
        "split": curve.split,
        "n_items": curve.n_items,
        "n_positions": length or None,
        "chance": curve.chance if exact is not None else None,
        "chance_nll": curve.chance_nll,
        "seed_sd": curve.seed_sd(),
        "sizes": _sizes(curve, law, errors, length),
        "law": _law(law),
        "fall_p": improves(curve.x, curve.ln_nll, curve.n_seeds),
        "sharpness": _ramp(curve) if enough else dict.fromkeys(("start", "end", "share")),
        "width": _width(curve) if enough else None,
        "power": _power(curve, law, level, seed, rng) if enough and law else None,
        "dependence": _dependence_keys(errors),
        "forecast": _forecast(curve, law, exact, rng),
        "seed_groups": _groups(curve),
        "descriptive": _scores(curve, exact),
    }


def _ramp(curve: Curve) -> Json:
    ramp = curve.design.best_ramp(curve.ln_nll)
    return {"start": ramp.start, "end": ramp.end, "share": ramp.share}


def _width(curve: Curve) -> Json:
    found = LogisticGrid(curve.design).fit(curve.ln_nll[None])
    values = {name: float(getattr(found, name)[0]) for name in ("width", "lower", "upper", "centre", "drop")}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _power(curve: Curve, law: SmoothLaw, level: float, seed: int, rng: np.random.Generator) -> float:
    """With the larger of the noise between seeds and the scatter about the law, for the observed fall."""
    y, between = curve.ln_nll, curve.seed_sd()
    sd = max(between or 0.0, law.residual_sd * float(np.sqrt(curve.n_seeds.mean())))
    drop = max(float(y[:2].mean() - y[-2:].mean()), 0.0)
    return power(curve.design, drop, sd, level, seed, rng)


def _law(law: SmoothLaw | None) -> Json | None:
    if law is None:
        return None
    names = ("E", "A", "alpha")
    return {
        **dict(zip(names, law.params.tolist(), strict=True)),
        "alpha_interval": list(law.interval()),
        "origin": law.origin,
        "residual_sd": law.residual_sd,
    }


def _dependence(curve: Curve, items: pd.DataFrame | None, rng: np.random.Generator) -> Dependence | None:
    """From the item results of every point of the curve; None where some have none."""
    if items is None:
        return None
    points = [rows["point_id"].tolist() for _, rows in curve.rows.groupby("size")]
    if items.empty or not {point for size in points for point in size} <= set(items.columns):
        return None
    positions = items["n_positions"].to_numpy(np.int64)
    sizes = [Answers.from_masks(items[size].to_numpy().T.astype(np.int64), positions) for size in points]
    return dependence(sizes, rng)


def _dependence_keys(errors: Dependence | None) -> Json | None:
    if errors is None:
        return None
    return {"effective_positions": errors.effective, "interval": errors.effective_interval}


def _sizes(curve: Curve, law: SmoothLaw | None, errors: Dependence | None, length: float) -> list[Json]:
    """One entry a size: measured values, predictors of exact match, and the law."""
    table: dict[str, Any] = {"at": curve.at, "x": curve.x, "n_seeds": curve.n_seeds.astype(int)}
    table["nll"] = np.exp(curve.ln_nll)
    spread = np.log(curve.rows[SMOOTH]).groupby(curve.rows["size"]).std().to_numpy(float)
    table["ln_nll_sd"] = spread
    if law is not None:
        table["law"] = law.curve(curve.x)
        table["law_low"], table["law_high"] = law.band(curve.x)
    if curve.has_exact:
        table |= _exact(curve, law, length)
    rows: list[Json] = [
        {key: _number(values[i]) for key, values in table.items()} for i in range(curve.n_sizes)
    ]
    for i, row in enumerate(rows):
        row["rho"] = errors.rho[i] if errors else _ratio(row.get("exact"), row.get("product"))
        row["rho_interval"] = errors.rho_interval[i] if errors else None
    return rows


def _exact(curve: Curve, law: SmoothLaw | None, length: float) -> dict[str, Array]:
    exact = curve.mean(EXACT)
    product, sampled = curve.mean("position_accuracy_product"), curve.mean("p_answer")
    table = {"exact": exact, "product": product, "p_answer": sampled}
    if curve.n_items:
        table["exact_upper"] = np.where(exact == 0, RULE_OF_THREE / curve.n_items, np.nan)
    inside = np.clip(exact, 1e-12, 1 - 1e-12)
    table["loglog"] = np.where((exact > 0) & (exact < 1), np.log(-np.log(inside)), np.nan)
    if length:
        powers = curve.rows["position_accuracy"] ** length
        table["accuracy_power"] = powers.groupby(curve.rows["size"]).mean().to_numpy(float)
        if law is not None:
            low, high = law.band(curve.x)
            table["from_law"] = np.exp(-length * law.curve(curve.x))
            table["from_law_low"], table["from_law_high"] = np.exp(-length * high), np.exp(-length * low)
    return table


def _number(value: Any) -> float | int | None:
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else None


def _ratio(exact: float | None, product: float | None) -> float | None:
    return exact / product if exact and product else None


def _forecast(
    curve: Curve, law: SmoothLaw | None, exact: Array | None, rng: np.random.Generator
) -> list[Json]:
    """Not along the loss, where a factor has no meaning."""
    if law is None or exact is None or curve.axis == "loss":
        return []
    found = forecast(law, curve.x, exact, curve.chance or 0.0, rng)
    return [{**row, "at": float(curve.at[-1] * row["factor"])} for row in found]


def _groups(curve: Curve) -> list[Json]:
    """Sizes with enough seeds to tell a mixture from a common shift."""
    found = []
    for at, (_, rows) in zip(curve.at, curve.rows.groupby("size"), strict=True):
        if len(rows) >= MIN_SEEDS:
            entry = seed_groups(np.log(rows[SMOOTH].to_numpy(float)))
            found.append({"at": float(at), **entry})
    return found


def _scores(curve: Curve, exact: Array | None) -> Json:
    smooth = -np.exp(curve.ln_nll)
    scores = {"breakthroughness_smooth": breakthroughness(smooth), "linearity_smooth": linearity(smooth)}
    if exact is not None:
        scores |= {"breakthroughness_exact": breakthroughness(exact), "linearity_exact": linearity(exact)}
    return scores


def evidence(curve: Curve, entry: Json) -> Evidence:
    """What the verdict rests on."""
    chance, width = curve.chance or 0.0, entry["width"] or {}
    last = max(curve.n_sizes // 3, 1)
    gain = None
    if curve.chance_nll:
        gain = float(np.exp(curve.ln_nll[-last:]).mean()) / curve.chance_nll
    errors, n = entry["dependence"], curve.n_items or 1000
    interval = errors["interval"] if errors else None
    return Evidence(
        n_sizes=curve.n_sizes,
        p=entry["sharpness"]["p_holm"],
        share=entry["sharpness"]["share"] or 0.0,
        lower=_or(width.get("lower"), np.nan),
        upper=_or(width.get("upper"), np.inf),
        power=entry["power"] or 0.0,
        fall_p=entry["fall_p"],
        gain=gain,
        exact=curve.mean(EXACT) - chance if curve.has_exact else None,
        exact_limit=3 * float(np.sqrt(max(chance * (1 - chance), 1 / n) / n)),
        effective=None if interval is None else tuple(end / entry["n_positions"] for end in interval),
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
