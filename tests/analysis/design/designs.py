"""Grids with trunks over surfaces of known truth, and fits of many redrawn noises at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.design.information import Cells, Information, Truth
from analysis.design.price import Size, Trunk
from analysis.laws import find_law
from analysis.solve.problem import Problem
from analysis.tables.table import LossTable, load_table
from tests.analysis.averaging.designs import (
    NOISE_EXPONENT,
    NOISE_N,
    SEED_SD,
    TRUNK_SHARE,
    TRUTHS,
    columns,
    flops_per_token,
    grid,
    noise,
    sizes,
)

REPEATS = 300
COOLDOWN = 0.2
WIDTHS = (16, 24, 32, 48, 64, 96)
ENDS = [458752 * 2 ** (k / 2) for k in range(8)]


def truth(name: str) -> Truth:
    law, theta = TRUTHS[name]
    return Truth(find_law(law), np.array(theta), SEED_SD, NOISE_N, NOISE_EXPONENT, TRUNK_SHARE)


def default_grid(seeds: int) -> Cells:
    """The fitted cells of the default grid."""
    return Cells(*columns(grid(seeds)))


def as_table(cells: Cells, of: Truth) -> LossTable:
    loss = of.law.value(of.theta, cells.n, cells.d, cells.c)
    frame = pd.DataFrame({"N": cells.n, "D": cells.d, "C": cells.c, "loss": loss, "trunk": cells.trunk})
    return load_table(frame, mapping={"cluster": "trunk"})


def refits(information: Information, repeats: int = REPEATS, seed: int = 1) -> Array:
    """Estimates [repeats, params] from redrawn noise, by the estimator of the information."""
    of, cells = information.truth, information.cells
    rng = np.random.default_rng(seed)
    codes = np.unique(cells.trunk, return_inverse=True)[1]
    shocks = np.stack([noise(codes, cells.n, rng, of.exponent) for _ in range(repeats)])
    table = as_table(cells, of)
    if information.estimator == "gls":
        table = replace(table, weights=of.sd(cells.n) ** -2 / np.mean(of.sd(cells.n) ** -2))
    problem = Problem(of.law, table, information.estimator, information.delta, shared=of.share)
    starts = np.tile(of.theta, (repeats, 1))
    return problem.solve(starts, losses=table.loss * np.exp(shocks), near=True).theta


def trunks(cells: Cells, number: int = 3) -> list[Trunk]:
    """The trunks of a design, and new ones of each width."""
    found = []
    for code in np.unique(cells.trunk):
        rows = cells.trunk == code
        size = Size(n=float(cells.n[rows][0]), flops_per_token=float((cells.c / cells.d)[rows][0]))
        ends = tuple(sorted(cells.d[rows].tolist()))
        found.append(Trunk(int(code), size, 0, ends, (1 - COOLDOWN) * ends[-1], COOLDOWN))
    code = int(cells.trunk.max())
    for width in WIDTHS:
        for seed in range(number):
            code += 1
            size = Size(n=sizes(width), flops_per_token=flops_per_token(width))
            found.append(Trunk(code, size, 1 + seed, cooldown=COOLDOWN))
    return found


def whole_price(cells: Cells) -> float:
    """Training FLOPs of all trunks with their branches."""
    total = 0.0
    for code in np.unique(cells.trunk):
        rows = cells.trunk == code
        tokens = COOLDOWN * cells.d[rows].sum() + (1 - COOLDOWN) * cells.d[rows].max()
        total += float((cells.c / cells.d)[rows][0] * tokens)
    return total
