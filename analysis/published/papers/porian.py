"""Refit of six IsoFLOP exponents, from Kaplan's to Chinchilla's, with intervals under seed noise.

Porian et al. add noise of .002 nats to every loss, interpolate with Akima splines, and regress the medians of
the optima. Their interval holds that noise alone. `fit_isoflop` widens its interval by the scatter of the
optima about the line, so `seed_noise_interval` computes the published ends without it.

References: Porian et al. 2024, arXiv:2406.19146, section 3, and the seed-noise bootstrap of its appendix.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.approaches.isoflop import MIN_SIZES, fit_isoflop, weighted_line
from analysis.approaches.slice_minimum import optima
from analysis.approaches.slices import measured_slices
from analysis.intervals import percentile_interval
from analysis.published.papers.comparison import Comparison
from analysis.tables.table import LossTable, load_table

SEED_SD = 0.002  # nats per token
DRAWS = 1000  # noise draws, as published
LEVEL = 0.95
WITHIN, WITHIN_QUADRATIC, WITHIN_END = 0.005, 0.03, 0.01


def refit(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """Compare, by configuration, the exponent by Akima splines and by parabolas, and the interval's ends."""
    rows = pd.read_csv(paths["isoflops.csv"])
    comparisons = []
    for published in pd.read_csv(paths["exponents_published.csv"]).to_dict("records"):
        config = str(published["config"])
        table = load_table(rows[rows.config == config], mapping={"N": "n", "D": "t", "C": "flops"})
        akima = fit_isoflop(table, method="akima", noise=relative_noise(table), resamples=DRAWS, seed=seed)
        quadratic = fit_isoflop(table, method="quadratic", resamples=0, seed=seed)
        low, high = seed_noise_interval(table, seed)
        a = float(published["a"])
        comparisons += [
            Comparison(f"{config} a, Akima", a, akima.estimates["a"], WITHIN),
            Comparison(f"{config} low end", float(published["a_lower_2.5"]), low, WITHIN_END),
            Comparison(f"{config} high end", float(published["a_upper_97.5"]), high, WITHIN_END),
            Comparison(f"{config} a, parabolas", a, quadratic.estimates["a"], WITHIN_QUADRATIC),
        ]
    return comparisons


def relative_noise(table: LossTable) -> float:
    """Return the published seed noise as a share of the geometric mean of the losses."""
    return float(SEED_SD / np.exp(np.mean(np.log(table.loss))))


def seed_noise_interval(table: LossTable, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of a in N* ∝ C^a under noise of SEED_SD nats on every loss."""
    slices = measured_slices(table.n, table.d, table.c, table.loss)
    pieces = [piece for piece in slices if len(piece.log_n) >= MIN_SIZES]
    normal = np.random.default_rng(seed).standard_normal((len(table), DRAWS))
    shocks = SEED_SD / table.loss[:, None] * normal  # of log losses
    found, log_n, _ = optima(pieces, np.log(table.loss), shocks, "akima")
    used = np.array([optimum.reason is None for optimum in found])
    kept = [optimum for optimum in found if optimum.reason is None]
    log_c, weights = np.array([(optimum.log_c, optimum.se**-2) for optimum in kept]).T
    return percentile_interval(weighted_line(log_c, log_n[used], weights)[0], LEVEL) or (np.nan, np.nan)
