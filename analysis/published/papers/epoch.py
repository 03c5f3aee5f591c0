"""Refit of Chinchilla's 245 points: Huber loss, least absolute deviations, bootstrap standard errors.

The constants that Hoffmann et al. print do not fit their own points. Besiroglu et al. trace them to the
*mean* of the Huber loss, which is so small that L-BFGS-B stopped early under its default tolerance. Here the
mean and the sum have the same minimiser, with a lower objective than that of the printed constants.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3; Besiroglu et al. 2024, arXiv:2404.10102.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.approaches.parametric import fit_law
from analysis.frontier import six_nd_exponents
from analysis.laws import find_law
from analysis.published.papers.comparison import Comparison
from analysis.published.papers.printed import EPOCH, HOFFMANN
from analysis.result import Fit
from analysis.solve.problem import checked_problem
from analysis.tables.table import LossTable, load_table

LAW = "chinchilla"
OUTLIERS = 5  # highest losses, which Besiroglu et al. leave out
WITHIN = 0.001  # tolerance of E, alpha and beta
SHARE = 0.01  # relative tolerance of A and B, which change steeply with their exponents
SE_SHARE = 0.15  # relative tolerance of a bootstrap standard error


def refit(paths: Mapping[str, Path], resamples: int, seed: int) -> list[Comparison]:
    """Compare both estimators, the standard errors of `resamples` bootstrap refits, and the objectives."""
    every = load_table(paths["svg_extracted_data.csv"], mapping={"N": "Model Size", "C": "Training FLOP"})
    kept = without_outliers(every)
    huber = fit_law(kept, LAW, resamples=resamples, seed=seed)
    lad = fit_law(kept, LAW, estimator="lad", resamples=0, seed=seed)
    assert lad.estimation is not None
    assert lad.estimation.log_likelihood is not None
    likelihood = Comparison(
        "lad log-likelihood", EPOCH["lad log-likelihood"], lad.estimation.log_likelihood, 0.05
    )
    return [
        *_constants("huber", huber),
        *_frontier_and_errors(huber, kept),
        *_constants("lad", lad),
        likelihood,
        *_mean_objective(huber, kept, seed),
        *_all_points(every, seed),
    ]


def without_outliers(table: LossTable) -> LossTable:
    """Return the table without its five highest losses."""
    return table.select(table.loss < np.sort(table.loss)[-OUTLIERS], "one of the five highest losses")


def _constants(estimator: str, fit: Fit) -> list[Comparison]:
    """Compare the five constants of the additive law."""
    rows = []
    for name, value in fit.estimates.items():
        key = f"{estimator} {name}"
        if name in ("A", "B"):
            rows.append(Comparison(key, EPOCH[key], value, SHARE, "relative"))
        else:
            rows.append(Comparison(key, EPOCH[key], value, WITHIN))
    return rows


def _frontier_and_errors(fit: Fit, table: LossTable) -> list[Comparison]:
    """Compare exponent a, objective and bootstrap standard errors of a Huber fit."""
    assert fit.frontier.a is not None
    assert fit.objective is not None
    assert fit.samples is not None
    a_draws = six_nd_exponents(find_law(LAW), fit.samples, table)
    errors = {name: fit.errors()[name] for name in ("E", "alpha", "beta")} | {
        "a": float(np.std(a_draws, ddof=1))
    }
    return [
        Comparison("huber a", EPOCH["huber a"], fit.frontier.a, 0.002),
        Comparison("huber objective", EPOCH["huber objective"], fit.objective, rule="at most"),
        *(
            Comparison(f"se {name}", EPOCH[f"se {name}"], value, SE_SHARE, "relative")
            for name, value in errors.items()
        ),
    ]


def _mean_objective(fit: Fit, table: LossTable, seed: int) -> list[Comparison]:
    """Compare mean and sum of the Huber loss, and our objective with that of Hoffmann's constants."""
    mean = fit_law(replace(table, weights=np.full(len(table), 1 / len(table))), LAW, resamples=0, seed=seed)
    printed = np.array([HOFFMANN[name] for name in find_law(LAW).params])
    theirs = float(checked_problem(table, LAW).objective(printed))
    assert fit.objective is not None
    return [
        *(
            Comparison(f"mean instead of sum, {name}", EPOCH[f"huber {name}"], mean.estimates[name], WITHIN)
            for name in ("E", "alpha", "beta")
        ),
        Comparison("huber objective, not above Hoffmann's constants", theirs, fit.objective, rule="at most"),
    ]


def _all_points(table: LossTable, seed: int) -> list[Comparison]:
    """Show the constants of the fit with the outliers, for information."""
    fit = fit_law(table, LAW, resamples=0, seed=seed)
    return [
        Comparison(f"huber {name}, all {len(table)} points", None, fit.estimates[name], rule="information")
        for name in ("E", "alpha", "beta")
    ]
