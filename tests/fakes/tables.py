"""Tables of losses whose true surface is known, shared by the tests of fits and forecasts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.laws.saturating import saturating
from analysis.tables.table import LossTable, load_table

Array = NDArray[np.float64]
Surface = Callable[[Array, Array], Array]

WIDTHS = np.array([16, 24, 32, 48, 64, 96])
TOKENS = 2.0 ** np.arange(20, 25)


def additive(n: Array, d: Array) -> Array:
    return 1.9 + 1.1 * (n / 5e4) ** -0.38 + 0.9 * (d / 4e6) ** -0.42


def joint(n: Array, d: Array) -> Array:
    return (30 * (n / 5e4) ** -0.62 + 30 * (d / 4e6) ** -0.58) ** 0.31


def joint_with_offset(n: Array, d: Array) -> Array:
    return 1.0 + (4.5 * (n / 5e4) ** -0.55 + 4.5 * (d / 4e6) ** -0.6) ** 0.5


def bent(n: Array, d: Array) -> Array:
    """The joint surface with N and D a little entangled (1 % at the corners): no candidate law holds."""
    return np.asarray(joint(n, d) * np.exp(0.002 * np.log(n / 5e4) * np.log(d / 4e6)))


def uneven(n: Array, d: Array) -> Array:
    """The joint surface with offsets of half a percent by size, as unequal tuning leaves."""
    return np.asarray(joint(n, d) * np.exp(0.004 * np.sin(3 * np.log(n))))


LIMITS = (5.3, float(np.log(512)))  # losses of a unigram model and of the uniform guess
SATURATING = np.array([1.55, 1.0 * 5e4**0.6, 1.0 * 4e6**0.58, 0.6, 0.58])


def saturates(n: Array, d: Array) -> Array:
    return saturating(*LIMITS).value(SATURATING, n, d)


SURFACES: dict[str, Surface] = {
    "additive": additive,
    "joint": joint,
    "joint_with_offset": joint_with_offset,
    "bent": bent,
    "uneven": uneven,
    "saturates": saturates,
}


def ladder(
    surface: Surface,
    rng: np.random.Generator,
    noise: float = 0.0035,
    seeded: tuple[int, ...] = (1, 3),
    limits: bool = False,
) -> LossTable:
    """Six sizes with five token counts each, one trunk a size, three at the sizes of `seeded`.

    Half of the noise variance is common to a trunk. With `limits` the saturating law can be fitted.
    """
    rows = []
    for index, width in enumerate(WIDTHS):
        n = 36.0 * width**2 + 512 * width
        for seed in range(3 if index in seeded else 1):
            common = rng.standard_normal() * noise * np.sqrt(0.5)
            tokens = TOKENS if seed == 0 else TOKENS[:3]
            own = rng.standard_normal(len(tokens)) * noise * np.sqrt(0.5)
            losses = surface(np.full(len(tokens), n), tokens) * np.exp(common + own)
            rows += [
                {
                    "N": n,
                    "D": d,
                    "C": 6 * n * d * (1 + 16 / width),
                    "loss": loss,
                    "cluster": f"{index}-{seed}",
                }
                | {"seed": seed, "rung": f"d{width}"}
                for d, loss in zip(tokens, losses, strict=True)
            ]
    frame = pd.DataFrame(rows)
    mapping = {name: name for name in ("cluster", "C", "seed", "rung")}
    if limits:
        frame = frame.assign(unigram_nats=LIMITS[0], vocab_size=512)
        mapping |= {"unigram": "unigram_nats", "vocab": "vocab_size"}
    return load_table(frame, mapping=mapping)


def split(table: LossTable, factor: float = 10.0) -> tuple[LossTable, LossTable]:
    """The rows up to the largest compute / factor, and the rows above."""
    below = table.c <= table.c.max() / factor
    return table.select(below), table.select(~below)
