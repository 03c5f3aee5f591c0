"""Sweeps of known truth for the coverage of averages over laws: truths, designs, noise of trunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.approaches.everything import frontier_flops
from analysis.arrays import Array, Codes
from analysis.averaging.average import average_laws
from analysis.averaging.quantities import averaged_frontier, averaged_quantities
from analysis.frontier import Surface, exponent, optimum, table_cost, table_reach
from analysis.intervals import LEVEL, interval_score
from analysis.laws import find_law
from analysis.records.averages import AveragedQuantity
from analysis.tables.table import LossTable, load_table

LIMITS = (5.3045, 6.2383)
SATURATING = f"saturating({LIMITS[0]},{LIMITS[1]})"
UNLIMITED = ("chinchilla", "quadrature", "joint", "bounded")
LAWS = (*UNLIMITED, SATURATING)
# Each law as fitted to the runs of results/chinchilla; so the truths look alike where they are fitted.
TRUTHS: dict[str, tuple[str, tuple[float, ...]]] = {
    "additive": ("chinchilla", (1.758, 86.2, 701.0, 0.436, 0.515)),
    "quadrature": ("quadrature", (1.276, 1796.0, 28895.0, 0.6286, 0.7238)),
    "joint": ("joint", (0.674, 8476.0, 114815.0, 0.653, 0.731, 0.358)),
    "saturating": (SATURATING, (1.66, 2330.0, 8986.0, 0.69, 0.668)),
    "bounded": ("bounded", (1.696, 1320.5, 14491.0, 0.64, 0.7035, 4.077)),
}
SEED_SD, TRUNK_SHARE = 0.0038, 0.8  # noise of log loss between seeds, and what a trunk shares, as measured
NOISE_N, NOISE_EXPONENT = 4e4, 0.25  # size of that noise, and how it falls with N, as measured
THOUSAND = 1024
GRID = {16: (448, 896, 1792, 3584), 32: (448, 896, 1344), 48: (448, 672), 64: (448,)}
BEYOND = ((48, 1792), (48, 3584), (64, 1792), (64, 7168), (96, 896), (96, 2688), (96, 3584), (96, 7168))
SIZES = (16, 24, 32, 48, 64)
FAR = ((96, 2048), (96, 4096), (64, 4096), (128, 4096), (128, 8192), (96, 8192))
Cell = tuple[int, int, int]  # width, thousand tokens, trunk


def grid(seeds: int) -> list[Cell]:
    """The default grid: cells below a ceiling of compute, each with several seeds."""
    return [(width, tokens, seed) for width, all_ in GRID.items() for seed in range(seeds) for tokens in all_]


def trunks(seeds: int) -> list[Cell]:
    """A rectangle of five sizes and four token counts."""
    return [
        (width, tokens, seed) for width in SIZES for seed in range(seeds) for tokens in (256, 512, 1024, 2048)
    ]


def isoflop(seeds: int) -> list[Cell]:
    """Five budgets over a factor of 100, each with all sizes in reach, every run by itself."""
    cells: list[Cell] = []
    for flops in np.geomspace(1.2e11, 1.2e13, 5):
        for width in (12, 16, 24, 32, 48, 64, 96, 128):
            tokens = round(flops / flops_per_token(width) / THOUSAND)
            if 128 <= tokens <= 16384:
                cells += [(width, tokens, len(cells) + seed) for seed in range(seeds)]
    return cells


@dataclass(frozen=True)
class Design:
    """The cells that are fitted, and those to forecast, beyond the fitted sizes and token counts."""

    fitted: Callable[[int], list[Cell]]
    seeds: int
    ahead: tuple[tuple[int, int], ...]


DESIGNS = {
    "default grid": Design(grid, 5, BEYOND),
    "grid of two seeds": Design(grid, 2, BEYOND),
    "trunks of one seed": Design(trunks, 1, FAR),
    "trunks of two seeds": Design(trunks, 2, FAR),
    "isoflop": Design(isoflop, 1, ((96, 16384), (128, 16384), (128, 32768))),
}


@dataclass(frozen=True)
class Outcome:
    """How one simulated sweep went: whether E, a and N* are inside, and the cells ahead [cells].

    `e_width` is that of the interval of E, nats; `score` the mean interval score of the cells, % of the loss.
    """

    e_inside: bool
    e_width: float
    a_inside: bool
    n_inside: bool
    inside: Array
    factor: Array
    error: Array
    score: float
    widest: float


def sizes(width: int) -> float:
    return 36.0 * width**2 + 512 * width


def flops_per_token(width: int) -> float:
    return 6 * sizes(width) + 36 * 128 * width


def columns(cells: list[Cell]) -> tuple[Array, Array, Array, Codes]:
    """Return N, D, C and the code of the trunk of cells."""
    width, tokens, trunk = (np.array(values) for values in zip(*cells, strict=True))
    n = np.array([sizes(each) for each in width])
    d = tokens * float(THOUSAND)
    c = d * np.array([flops_per_token(each) for each in width])
    return n, d, c, np.unique(width * 1000 + trunk, return_inverse=True)[1]


def noise(trunk: Codes, n: Array, rng: np.random.Generator, exponent: float) -> Array:
    """Noise of log loss whose standard deviation falls as N^-exponent."""
    common, own = rng.standard_normal(trunk.max() + 1)[trunk], rng.standard_normal(len(trunk))
    sd = SEED_SD * (n / NOISE_N) ** -exponent
    return np.asarray(sd * (np.sqrt(TRUNK_SHARE) * common + np.sqrt(1 - TRUNK_SHARE) * own))


def simulate(
    truth: str,
    design: Design,
    seed: int,
    resamples: int,
    entangled: float = 0.0,
    noise_exponent: float = NOISE_EXPONENT,
    laws: Sequence[str] = LAWS,
) -> Outcome:
    """Draw one sweep, forecast the cells ahead over the laws, and hold everything against the truth.

    `entangled` adds that times ln N·ln D, around the middle, to the log loss: no law has it. The noise falls
    as N^-noise_exponent. `laws` compete; without the saturating one they know no limits.
    """
    rng = np.random.default_rng(seed)
    law, values = TRUTHS[truth]
    theta = np.array(values)

    def log_loss(n: Array, d: Array, c: Array) -> Array:
        twist = entangled * np.log(n / 5e4) * np.log(d / 1e6)
        return np.asarray(np.log(find_law(law).value(theta, n, d, c)) + twist)

    n, d, c, trunk = columns(design.fitted(design.seeds))
    frame = pd.DataFrame(
        {"N": n, "D": d, "C": c, "loss": np.exp(log_loss(n, d, c) + noise(trunk, n, rng, noise_exponent))}
    )
    table: LossTable = load_table(frame.assign(trunk=trunk), mapping={"cluster": "trunk"})
    average = average_laws(replace(table, limits=LIMITS), laws, resamples=resamples, seed=seed)
    ahead = columns([(width, tokens, 0) for width, tokens in design.ahead])
    measured = np.exp(log_loss(*ahead[:3]) + noise(ahead[3], ahead[0], rng, noise_exponent))
    predicted, low, high = average.new_runs(*ahead[:3])
    budgets, larger = frontier_flops(table), np.array([10 * c.max()])
    found = {each.quantity: each for each in averaged_quantities(average, table, budgets)}
    (best,) = averaged_frontier(average, table, larger)
    surface = Surface(law, lambda n, d: np.exp(log_loss(n, d, n * d)), table_cost(table), table_reach(table))
    true_a = float(exponent(budgets, optimum(surface, budgets)[0])[0])
    true_n = float(optimum(surface, larger)[0][0, 0])
    irreducible, a = found[AveragedQuantity.E], found[AveragedQuantity.A_EXACT]
    factor = ahead[2] / c.max()
    scores = 100 * interval_score(low, high, measured, LEVEL) / measured
    return Outcome(
        irreducible.low <= values[0] <= irreducible.high,
        irreducible.high - irreducible.low,
        a.low <= true_a <= a.high,
        best.n_low <= true_n <= best.n_high,
        (low <= measured) & (measured <= high),
        factor,
        np.log(predicted / measured),
        float(scores.mean()),
        float(np.max(high / low)),
    )
