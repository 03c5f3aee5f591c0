"""Cloud, profiles and best sizes by count of a made-up sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.arrays import Interval
from analysis.records.fit import FitRecord, ProfileRecord
from analysis.records.fits import CountedOptimum
from analysis.records.frontier import FrontierRow


def fake_cloud(fit: FitRecord, points: int = 120) -> tuple[Interval, ...]:
    """Normal draws around the exponents with the standard errors of the fit."""
    rng = np.random.default_rng(0)
    alpha, beta = (
        (fit.params[name] + fit.se[name] * rng.standard_normal(points)).round(5).tolist()
        for name in ("alpha", "beta")
    )
    return tuple(zip(alpha, beta, strict=True))


def fake_profile(fit: FitRecord, parameter: str, open_below: bool = False) -> ProfileRecord:
    """A parabola that crosses the cut 1.6 standard errors from the estimate."""
    centre, se, lowest = fit.params[parameter], fit.se[parameter], fit.objective or 0.0
    values = np.linspace(centre if open_below else centre - 2 * se, centre + 2 * se, 41)
    rise = 0.05 * ((values - centre) / se) ** 2
    return ProfileRecord(
        parameter=parameter,
        estimate=centre,
        values=tuple(values.tolist()),
        objective=tuple((lowest * (1 + rise)).tolist()),
        lowest=lowest,
        cut=lowest * (1 + 0.05 * 1.6**2),
        level=0.9,
        interval=(None if open_below else centre - 1.6 * se, centre + 1.6 * se),
        rule="resampled cut, 300 draws of 9 trunks" + ("; no lower end" if open_below else ""),
    )


def fake_frontier_by_count(
    rows: Sequence[FrontierRow], exponents: Mapping[str, float]
) -> tuple[CountedOptimum, ...]:
    """The frontier of the primary count, turned to other exponents for the others."""
    return tuple(
        CountedOptimum(count, row.flops, *(value * (row.flops / 1e13) ** turn for value in own))
        for count, turn in exponents.items()
        for row, own in ((row, (row.n_opt, row.n_low, row.n_high)) for row in rows)
    )
