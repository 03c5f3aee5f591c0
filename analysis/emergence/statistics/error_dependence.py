"""Are the errors within an answer independent? Exact match against the product of per-position accuracies.

ρ = exact match / Π accuracy_j. Item difficulty and copying of one error into the next make ρ > 1. Near zero
a ratio says little, so the summary over sizes is the number of *effective positions*: with
κ = Σ ln(exact match) / Σ ln(Π accuracy_j), an answer of L positions behaves like κ·L independent ones (κ = 1:
independent, κ = 1/L: all right or all wrong together). Intervals resample items, the same for every run,
and hold for the trained models at hand.

References: Schaeffer et al. 2023, arXiv:2304.15004, section 2 (the independent model).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array, Codes, Mask
from analysis.result import LEVEL

RESAMPLES = 400
MIN_HITS = 20  # exact matches of a size, all seeds, below which its ratio has no interval
TOO_GOOD = 0.97  # products above carry no information on dependence


@dataclass(frozen=True)
class Answers:
    """Item-level results of one size.

    Attributes:
        right: whether a position was right, shape (seeds, items, positions); beyond an item's end True.
        n_positions: of each item, shape (items,).
    """

    right: Mask
    n_positions: Codes

    @staticmethod
    def from_masks(hits: Codes, n_positions: Codes) -> Answers:
        """`hits` bit masks (bit j: position j right), shape (seeds, items)."""
        positions = np.arange(int(n_positions.max()))
        right = (hits[..., None] >> positions & 1).astype(bool)
        return Answers(right | (positions >= n_positions[:, None]), n_positions)

    @property
    def exact(self) -> Array:
        """Share of seeds with every position right, shape (items,)."""
        return np.asarray(self.right.all(axis=2).mean(axis=0))

    def predictors(self, counts: Array) -> tuple[Array, Array, Array]:
        """Exact match, (a) accuracy^L and (b) Π accuracy_j when item i counts `counts[:, i]` times.

        Each has shape (draws,), averaged over seeds after the product, not before it.
        """
        exact = counts @ self.exact / counts.sum(axis=1)
        seeds, n, longest = self.right.shape
        there = (np.arange(longest) < self.n_positions[:, None]).astype(float)  # (items, positions)
        weight = np.maximum(counts @ there, 1e-12)
        right = (self.right * there).transpose(1, 0, 2).reshape(n, seeds * longest)
        hits = (counts @ right).reshape(len(counts), seeds, longest).transpose(1, 0, 2)
        accuracy = hits / weight  # (seeds, draws, positions)
        mean = (accuracy * weight).sum(axis=2) / weight.sum(axis=1)
        length = (counts @ self.n_positions) / counts.sum(axis=1)
        share = weight / counts.sum(axis=1, keepdims=True)  # of items that reach the position
        product = np.exp(np.sum(share * np.log(np.maximum(accuracy, 1e-300)), axis=2))
        return exact, np.mean(mean**length, axis=0), np.mean(product, axis=0)


@dataclass(frozen=True)
class Dependence:
    """ρ by size with its interval (None where there are too few hits), and κ·L over all sizes."""

    rho: list[float | None]
    rho_interval: list[tuple[float, float] | None]
    effective: float | None
    effective_interval: tuple[float, float] | None
    n_positions: float


def dependence(
    sizes: list[Answers], rng: np.random.Generator, resamples: int = RESAMPLES, level: float = LEVEL
) -> Dependence:
    """Paired bootstrap over items, which must be the same and in the same order at every size."""
    n = sizes[0].right.shape[1]
    counts = np.concatenate(
        [np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)]
    )
    rho: list[float | None] = []
    interval: list[tuple[float, float] | None] = []
    logs = np.zeros((2, resamples + 1))
    for size in sizes:
        exact, _, product = size.predictors(counts)
        hits = size.right.all(axis=2).sum()
        rho.append(float(exact[0] / product[0]) if product[0] > 0 and hits else None)
        enough = hits >= MIN_HITS and exact.min() > 0
        interval.append(_percentiles(exact[1:] / product[1:], level) if enough else None)
        if enough and product[0] < TOO_GOOD:
            logs += np.log([exact, product])
    length = float(sizes[0].n_positions.mean())
    if not logs[1, 0] < 0:
        return Dependence(rho, interval, None, None, length)
    kappa = logs[0] / logs[1]
    return Dependence(
        rho, interval, length * float(kappa[0]), _percentiles(length * kappa[1:], level), length
    )


def _percentiles(values: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
