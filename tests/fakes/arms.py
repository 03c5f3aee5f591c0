"""Two simulated arms with a known multiplier: noise of trunks, part of it shared by runs of one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.frontier import Surface, optimum
from analysis.laws import find_law

# A law as fitted to the runs of results/chinchilla, and the noise measured there.
LAW, THETA = "bounded", np.array((1.696, 1320.5, 14491.0, 0.64, 0.7035, 4.077))
SEED_SD, TRUNK_SHARE, PAIR_SHARE = 0.0045, 0.8, 0.3
TOKENS = {16: (448, 896, 1792), 32: (448, 896, 1344), 48: (448, 672), 64: (448,)}  # in thousands, by width


@dataclass(frozen=True)
class Truth:
    """How the second arm differs from the first.

    Attributes:
        shift: of log loss at equal N and D.
        tilt_n: change of the shift with ln N.  tilt_d: with ln D.
        size: its parameters over those of the first at equal width.
        cost: its FLOPs per parameter over those of the first.
    """

    shift: float = 0.0
    tilt_n: float = 0.0
    tilt_d: float = 0.0
    size: float = 1.0
    cost: float = 1.0

    def difference(self, n: Array, d: Array) -> Array:
        return self.shift + self.tilt_n * np.log(n / 5e4) + self.tilt_d * np.log(d / 8e5)

    def log_multiplier(self, flops: Array) -> Array:
        """Logarithm of the compute multiplier, searched on the surfaces themselves."""
        law = find_law(LAW)
        first = Surface(LAW, lambda n, d: law.value(THETA, n, d), six_n, (1e3, 1e7))
        second = Surface(
            LAW,
            lambda n, d: law.value(THETA, n, d) * np.exp(self.difference(n, d)),
            lambda n: self.cost * six_n(n),
            (1e3, 1e7),
        )
        reached = optimum(second, flops)[2][0]
        grid = np.geomspace(flops.min() / 10, flops.max() * 10, 1500)
        return np.interp(-reached, -optimum(first, grid)[2][0], np.log(grid)) - np.log(flops)


def six_n(n: Array) -> Array:
    return 6 * n


def parameters(width: Array) -> Array:
    return 36.0 * width**2 + 512 * width


def simulated(truth: Truth, seeds: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of both arms, as tables of other people with columns for rung, seed and trunk."""
    cells = [(w, t, s) for w, all_ in TOKENS.items() for s in range(seeds) for t in all_]
    width, tokens, seed = (np.array(column, float) for column in zip(*cells, strict=True))
    trunk = np.unique(width * 1000 + seed, return_inverse=True)[1]
    shared = rng.standard_normal(trunk.max() + 1), rng.standard_normal(len(width))
    found = []
    for arm, name in enumerate(("old", "new")):
        n, d = parameters(width) * (truth.size if arm else 1.0), tokens * 1024
        own = rng.standard_normal(trunk.max() + 1), rng.standard_normal(len(width))
        common, rest = (
            np.sqrt(PAIR_SHARE) * both + np.sqrt(1 - PAIR_SHARE) * alone
            for both, alone in zip(shared, own, strict=True)
        )
        noise = np.sqrt(TRUNK_SHARE) * common[trunk] + np.sqrt(1 - TRUNK_SHARE) * rest
        log_loss = np.log(find_law(LAW).value(THETA, n, d)) + SEED_SD * (n / 4e4) ** -0.2 * noise
        found.append(
            pd.DataFrame(
                {
                    "arm": name,
                    "size": [f"d{w:.0f}" for w in width],
                    "seed": seed.astype(int),
                    "trunk": trunk,
                    "N": n,
                    "D": d,
                    "C": 6 * n * d * (truth.cost if arm else 1.0),
                    "loss": np.exp(log_loss + (truth.difference(n, d) if arm else 0.0)),
                }
            )
        )
    return found[0], found[1]


MAPPING = {"rung": "size", "seed": "seed", "cluster": "trunk"}
