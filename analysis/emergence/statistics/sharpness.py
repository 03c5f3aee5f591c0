"""Sup-F test for a downward ramp in ln NLL, with Monte-Carlo critical values.

The unit of analysis is one value per model size: the mean of ln NLL over its seeds. Under the null, ln NLL is
a quadratic in log size of non-negative curvature, that is a power law that may level off at a floor.
The alternative adds a downward ramp, flat before `start` and after `end`, both unknown. A ramp that ends at
the last size is a hinge. The statistic is the largest F over all ramps; a ramp upwards does not count.

The supremum over ramps does not follow an F distribution. Its null is simulated for the sizes and seeds in
use, once for a straight and once for a strongly curved truth. The larger of the two p-values counts.

References: Andrews 1993, Econometrica 61, 821 (tests with unknown change point); Schaeffer et al. 2023,
arXiv:2304.15004 (why not exact match).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from analysis.arrays import Array, Codes
from harness.records.paths import cache_root

SIGNIFICANCE = 0.05  # family-wise level over the tasks and lengths of an axis, by Holm

MIN_SIZES = 7  # with fewer, the four free parameters leave too few degrees of freedom
BEFORE = 2  # sizes at or before the start of a ramp
AFTER = 2  # sizes beyond it
DRAWS = 10_000  # simulated nulls, so that the smallest p-value is 1e-4
BLOCK = 2000  # draws at a time, to bound the memory
MATERIAL = 1 / 3  # share of the range of ln NLL below which a ramp is a wrinkle, however significant
LAYOUT = 1  # version of cached nulls; raise it when the statistic changes


@dataclass(frozen=True)
class Ramp:
    """A ramp fitted to one curve.

    Attributes:
        start: last size before the fall, decades.
        end: first size after it, decades.
        share: fall beyond the smooth trend over the range of ln NLL.
    """

    start: float
    end: float
    share: float


@dataclass(frozen=True)
class Design:
    """Sizes of a ladder, and the sup-F test on them.

    Attributes:
        x: position of each size in decades, ascending [sizes].
        weight: number of seeds behind each size mean [sizes]; the weights of least squares.
    """

    x: Array
    weight: Array

    @cached_property
    def ramps(self) -> Array:
        """Candidate ramps from 0 to 1, one a row [ramps, sizes]."""
        k = len(self.x)
        pairs = [(i, j) for i in range(BEFORE - 1, k - AFTER) for j in range(i + 1, k)]
        starts, ends = (self.x[[pair[end] for pair in pairs]] for end in (0, 1))
        return np.clip((self.x - starts[:, None]) / (ends - starts)[:, None], 0, 1)

    @cached_property
    def _line(self) -> _Basis:
        """Null at its bound: a straight line, which is a pure power law."""
        return _Basis.make(np.vander(self.x - self.x.mean(), 2), self.weight, self.ramps)

    @cached_property
    def _curve(self) -> _Basis:
        """Null inside its bound: a quadratic."""
        return _Basis.make(np.vander(self.x - self.x.mean(), 3), self.weight, self.ramps)

    def statistic(self, y: Array) -> Array:
        """Return the sup-F of each row of `y` [draws, sizes]; 0 if no ramp goes down."""
        return self._largest(y, free=False)[0]

    def best_ramp(self, y: Array) -> Ramp:
        """Return the ramp with the largest F in the curve `y` [sizes]."""
        best = int(self._largest(y[None], free=False)[1][0])
        ramp, root = self.ramps[best], np.sqrt(self.weight)
        size = 0.0
        for degree in (2, 1):  # a quadratic of negative curvature is not in the null: then a line
            columns = np.column_stack([np.vander(self.x - self.x.mean(), degree + 1), ramp])
            found = np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)[0]
            size = float(-found[-1])
            if degree == 2 and found[0] > 0:
                break
        start, end = float(self.x[ramp <= 0][-1]), float(self.x[ramp >= 1][0])
        return Ramp(start, end, max(size, 0.0) / max(float(np.ptp(y)), 1e-300))

    def _largest(self, y: Array, free: bool) -> tuple[Array, Codes]:
        """Return the largest F of each row of `y` [draws, sizes] and the index of its ramp.

        Args:
            free: whether the curvature may have either sign. Under a strongly curved truth the bound at zero
                is never active, so that the null without the bound is its null.
        """
        root = np.sqrt(self.weight)
        line, curve = self._line.fit(y * root), self._curve.fit(y * root)
        null = np.where(free | (curve.bend > 0), curve.null_rss, line.null_rss)
        with_ramp = np.where(free | (curve.ramp_bend > 0), curve.ramp_rss, line.ramp_rss)
        slope = np.where(free | (curve.ramp_bend > 0), curve.ramp_slope, line.ramp_slope)
        gain = np.where(slope < 0, null[:, None] - with_ramp, 0.0)
        # Four free parameters: level, slope, curvature and the height of the ramp.
        f = np.maximum(gain, 0) / np.maximum(with_ramp, 1e-300) * (len(self.x) - 4)
        best = np.argmax(f, axis=1)
        return f[np.arange(len(f)), best], best

    def null(self, seed: int, draws: int = DRAWS) -> Array:
        """Simulate the null: sorted statistics [2, draws], for a straight and a strongly curved truth."""
        rng = np.random.default_rng(seed)
        parts = []
        for _ in range(-(-draws // BLOCK)):
            noise = rng.standard_normal((BLOCK, len(self.x))) / np.sqrt(self.weight)
            parts.append(np.stack([self._largest(noise, free)[0] for free in (False, True)]))
        return np.sort(np.concatenate(parts, axis=1)[:, :draws], axis=1)


@dataclass(frozen=True)
class _Fits:
    """Weighted least-squares fits of many curves, without a ramp and with each candidate.

    Attributes:
        null_rss: residual sums of squares without a ramp [draws].
        bend: leading coefficient of the polynomial without a ramp [draws].
        ramp_rss: residual sums of squares with a ramp [draws, ramps].
        ramp_slope: coefficient of the orthonormalised ramp [draws, ramps]; negative if it goes down.
        ramp_bend: leading coefficient of the polynomial with a ramp [draws, ramps].
    """

    null_rss: Array
    bend: Array
    ramp_rss: Array
    ramp_slope: Array
    ramp_bend: Array


@dataclass(frozen=True)
class _Basis:
    """Orthonormal basis of a polynomial, and the ramps projected off it.

    All vectors are scaled by the square roots of the weights. By the theorem of Frisch, Waugh and Lovell one
    projection then fits every ramp to every curve without a least-squares problem for each pair.
    """

    q: Array
    ramps: Array  # unit vectors orthogonal to q [ramps, sizes]
    bend: Array  # leading coefficient as a linear function of the curve [sizes]
    ramp_bend: Array  # change of the leading coefficient for each unit ramp [ramps]

    @staticmethod
    def make(columns: Array, weight: Array, ramps: Array) -> _Basis:
        """Build the basis from polynomial columns [sizes, degree + 1] and ramps [ramps, sizes]."""
        root = np.sqrt(weight)
        columns = columns * root[:, None]
        q = np.linalg.qr(columns)[0]
        scaled = ramps * root
        free = scaled - scaled @ q @ q.T
        length = np.linalg.norm(free, axis=1)
        # A ramp that the polynomial already spans has no direction of its own.
        usable = length > 1e-8
        length = np.where(usable, length, 1.0)
        pseudo = np.linalg.pinv(columns)[0]
        bend = scaled @ pseudo / length
        return _Basis(q, np.where(usable[:, None], free / length[:, None], 0.0), pseudo, bend)

    def fit(self, y: Array) -> _Fits:
        """Fit curves `y` [draws, sizes], scaled by the square roots of the weights."""
        rest = y - y @ self.q @ self.q.T
        null_rss = np.sum(rest**2, axis=1)
        slope = rest @ self.ramps.T
        bend = y @ self.bend
        ramp_rss = null_rss[:, None] - slope**2
        return _Fits(null_rss, bend, ramp_rss, slope, bend[:, None] - slope * self.ramp_bend)


def p_value(design: Design, y: Array, seed: int, draws: int = DRAWS) -> tuple[float, float]:
    """Return sup-F of one curve of size means `y` [sizes] and its Monte-Carlo p-value.

    The p-value is (1 + draws that are as large)/(1 + draws), which is never 0.
    """
    found = float(design.statistic(y[None])[0])
    null = null_of(design, seed, draws)
    larger = null.shape[1] - np.array([np.searchsorted(row, found, side="left") for row in null])
    return found, float((1 + larger.max()) / (1 + null.shape[1]))


def critical_value(design: Design, significance: float, seed: int, draws: int = DRAWS) -> float:
    """Return the Monte-Carlo critical value: a smooth truth exceeds it with probability `significance`."""
    return float(np.quantile(null_of(design, seed, draws), 1 - significance, axis=1).max())


def null_of(design: Design, seed: int, draws: int = DRAWS) -> Array:
    """Return the simulated null of a design [2, draws], from the cache of the user if it is there."""
    words = f"{LAYOUT} {seed} {draws} {_scaled(design.x).tolist()} {_scaled(design.weight).tolist()}"
    path = cache_folder() / f"{hashlib.sha256(words.encode()).hexdigest()[:24]}.npy"
    try:
        kept = np.load(path)
        if kept.shape == (2, draws):
            return np.asarray(kept, float)
    except (OSError, ValueError):
        pass
    # A missing or damaged file only costs the simulation.
    simulated = design.null(seed, draws)
    _keep(path, simulated)
    return simulated


def _scaled(values: Array) -> Array:
    """Shift and scale to [0, 1]: the statistic is invariant, so equivalent designs share a cached null."""
    span = np.ptp(values)
    return np.round((values - values.min()) / span if span > 0 else np.ones_like(values), 6)


def cache_folder() -> Path:
    """Return the folder of simulated nulls: `emergence` in the cache."""
    return cache_root() / "emergence"


def _keep(path: Path, values: Array) -> None:
    """Save a null atomically for the next study; a folder that cannot be written is no error."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(temporary, values)
        os.replace(temporary, path)
    except OSError:
        return
