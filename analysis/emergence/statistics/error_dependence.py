"""Dependence of errors within an answer, and the effective number of independent positions.

ρ = exact match / Π accuracy_j is 1 under independent errors. Item difficulty, and one error that causes the
next, make ρ > 1. A ratio near zero says little, so sizes are summarised by
κ = Σ ln(exact match) / Σ ln(Π accuracy_j). An answer of L positions then has κ·L effective independent
positions: κ = 1 if errors are independent, κ = 1/L if all positions are right or wrong together.
Intervals are a paired bootstrap over items, the same draw at every size. They hold for the trained models
at hand, not for other seeds.

References: Schaeffer et al. 2023, arXiv:2304.15004, section 2 (the independent model).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array, Codes, Mask
from analysis.intervals import LEVEL, percentile_interval

RESAMPLES = 400
MIN_HITS = 20  # right answers of a size over all seeds, below which its ratio has no interval
TOO_GOOD = 0.97  # a product of accuracies above it carries no information on dependence


@dataclass(frozen=True)
class Answers:
    """Item-level results of one size under teacher forcing.

    Attributes:
        right: whether a position was right [seeds, items, positions]; True beyond the end of an item.
        n_positions: positions of each item [items].
    """

    right: Mask
    n_positions: Codes

    @staticmethod
    def from_masks(hits: Codes, n_positions: Codes) -> Answers:
        """Unpack bit masks `hits` [seeds, items], whose bit j says whether position j is right."""
        positions = np.arange(int(n_positions.max()))
        right = (hits[..., None] >> positions & 1).astype(bool)
        return Answers(right | (positions >= n_positions[:, None]), n_positions)

    @property
    def exact(self) -> Array:
        """Share of seeds with every position right [items]."""
        return np.asarray(self.right.all(axis=2).mean(axis=0))

    def predictors(self, counts: Array) -> tuple[Array, Array, Array]:
        """Return exact match, accuracy^L and Π accuracy_j under each bootstrap draw [draws].

        The mean over seeds is taken after the product, which predicts the exact match of one seed.

        Args:
            counts: number of times that a draw takes each item [draws, items].
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
        # Items of different lengths: a position counts by the share of items that reach it.
        share = weight / counts.sum(axis=1, keepdims=True)
        product = np.exp(np.sum(share * np.log(np.maximum(accuracy, 1e-300)), axis=2))
        return exact, np.mean(mean**length, axis=0), np.mean(product, axis=0)


@dataclass(frozen=True)
class Dependence:
    """Dependence of errors by size and over all sizes.

    Attributes:
        rho: exact match over Π accuracy_j by size; None without any right answer.
        rho_interval: its bootstrap interval; None with fewer than MIN_HITS right answers.
        effective: effective number of independent positions κ·L; None if no size is informative.
        effective_interval: its bootstrap interval.
        n_positions: mean length L of an answer.
    """

    rho: list[float | None]
    rho_interval: list[tuple[float, float] | None]
    effective: float | None
    effective_interval: tuple[float, float] | None
    n_positions: float


def dependence(
    sizes: list[Answers], rng: np.random.Generator, resamples: int = RESAMPLES, level: float = LEVEL
) -> Dependence:
    """Return the dependence of errors with intervals of a paired bootstrap over items.

    Args:
        sizes: results by size, of the same items in the same order.
        level: confidence of the intervals.
    """
    n = sizes[0].right.shape[1]
    # The first draw takes every item once: it gives the estimates, the others their intervals.
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
        interval.append(percentile_interval(exact[1:] / product[1:], level) if enough else None)
        if enough and product[0] < TOO_GOOD:
            logs += np.log([exact, product])
    length = float(sizes[0].n_positions.mean())
    if not logs[1, 0] < 0:
        return Dependence(rho, interval, None, None, length)
    kappa = logs[0] / logs[1]
    return Dependence(
        rho, interval, length * float(kappa[0]), percentile_interval(length * kappa[1:], level), length
    )
