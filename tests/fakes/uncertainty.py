"""Cloud, profiles and best sizes by count of a made-up sweep, as fits.json has them."""

from __future__ import annotations

from typing import Any

import numpy as np

Json = dict[str, Any]


def fake_cloud(fit: Json, points: int = 120) -> list[list[float]]:
    """Normal draws around the exponents with the standard errors of the fit."""
    rng = np.random.default_rng(0)
    columns = [
        fit["params"][name] + fit["se"][name] * rng.standard_normal(points) for name in ("alpha", "beta")
    ]
    return np.column_stack(columns).round(5).tolist()


def fake_profile(fit: Json, parameter: str, open_below: bool = False) -> Json:
    """A parabola that crosses the cut 1.6 standard errors from the estimate."""
    centre, se = fit["params"][parameter], fit["se"][parameter]
    values = np.linspace(centre if open_below else centre - 2 * se, centre + 2 * se, 41)
    rise = 0.05 * ((values - centre) / se) ** 2
    low = None if open_below else centre - 1.6 * se
    return {
        "parameter": parameter,
        "estimate": centre,
        "values": values.tolist(),
        "objective": (fit["objective"] * (1 + rise)).tolist(),
        "lowest": fit["objective"],
        "cut": fit["objective"] * (1 + 0.05 * 1.6**2),
        "level": 0.9,
        "interval": [low, centre + 1.6 * se],
        "rule": "resampled cut, 300 draws of 9 trunks" + ("; no lower end" if open_below else ""),
    }


def fake_frontier_by_count(rows: list[Json], exponents: dict[str, float]) -> list[Json]:
    """The frontier of the primary count, turned to other exponents for the others."""
    return [
        {
            "count": count,
            "flops": row["flops"],
            **{key: row[key] * (row["flops"] / 1e13) ** turn for key in ("n_opt", "n_low", "n_high")},
        }
        for count, turn in exponents.items()
        for row in rows
    ]
