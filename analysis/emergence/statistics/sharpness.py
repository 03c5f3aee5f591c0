"""Does a smooth metric fall in a jump? A signed ramp sup-F test on ln NLL of size means.

The unit of analysis is one value per model size, the mean of ln NLL over its seeds. Null: a straight line in
log size (a power law) that may level off (a floor), which is a quadratic of non-negative curvature.
Alternative: the same plus a downward ramp, flat before `start` and after `end`, both searched; a ramp that
ends at the last size is a hinge. The statistic is the largest F of such a ramp; a ramp upwards does not
count. Searching makes the textbook F distribution wrong, so its distribution under the null is simulated
for the very sizes and seeds in use, twice, for a straight and for a strongly curved truth, and the larger
p-value counts.

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

SIGNIFICANCE = 0.05  # of a test; after Holm over tasks and lengths

MIN_SIZES = 7  # with fewer, four free numbers leave too little to test
BEFORE = 2  # sizes at or before the start of a ramp
AFTER = 2  # sizes beyond it
DRAWS = 10_000  # simulated nulls behind a p-value
BLOCK = 2000  # draws at a time, to bound the memory
MATERIAL = 1 / 3  # of the whole range: a smaller ramp is a wrinkle of the smooth law, however significant
LAYOUT = 1  # of the cache; raise it when the statistic changes


@dataclass(frozen=True)
class Ramp:
    """Start and end in decades; `share`: its fall beyond the smooth trend over the range of the curve."""

    start: float
    end: float
    share: float


@dataclass(frozen=True)
class Design:
    """The sizes of a grid.

    Attributes:
        x: position of each size in decades, ascending.
        weight: number of seeds behind each size mean.
    """

    x: Array
    weight: Array

    @cached_property
    def ramps(self) -> Array:
        """Ramps from 0 to 1, one a row; shape (ramps, sizes)."""
        k = len(self.x)
        pairs = [(i, j) for i in range(BEFORE - 1, k - AFTER) for j in range(i + 1, k)]
        starts, ends = (self.x[[pair[end] for pair in pairs]] for end in (0, 1))
        return np.clip((self.x - starts[:, None]) / (ends - starts)[:, None], 0, 1)

    @cached_property
    def _line(self) -> _Basis:
        return _Basis.make(np.vander(self.x - self.x.mean(), 2), self.weight, self.ramps)

    @cached_property
    def _curve(self) -> _Basis:
        return _Basis.make(np.vander(self.x - self.x.mean(), 3), self.weight, self.ramps)

    def statistic(self, y: Array) -> Array:
        """The largest F of a downward ramp in each row of `y`, shape (draws, sizes); 0 where all go up."""
        return self._largest(y, free=False)[0]

    def best_ramp(self, y: Array) -> Ramp:
        """The ramp with the largest F in the single curve `y`."""
        best = int(self._largest(y[None], free=False)[1][0])
        ramp, root = self.ramps[best], np.sqrt(self.weight)
        size = 0.0
        for degree in (2, 1):  # a curve where it bends upwards, else a line
            columns = np.column_stack([np.vander(self.x - self.x.mean(), degree + 1), ramp])
            found = np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)[0]
            size = float(-found[-1])
            if degree == 2 and found[0] > 0:
                break
        start, end = float(self.x[ramp <= 0][-1]), float(self.x[ramp >= 1][0])
        return Ramp(start, end, max(size, 0.0) / max(float(np.ptp(y)), 1e-300))

    def _largest(self, y: Array, free: bool) -> tuple[Array, Codes]:
        """Largest F and its ramp; `free` leaves the sign of the curvature open (a strongly curved truth)."""
        root = np.sqrt(self.weight)
        line, curve = self._line.fit(y * root), self._curve.fit(y * root)
        null = np.where(free | (curve.bend > 0), curve.null_rss, line.null_rss)
        with_ramp = np.where(free | (curve.ramp_bend > 0), curve.ramp_rss, line.ramp_rss)
        slope = np.where(free | (curve.ramp_bend > 0), curve.ramp_slope, line.ramp_slope)
        gain = np.where(slope < 0, null[:, None] - with_ramp, 0.0)
        f = np.maximum(gain, 0) / np.maximum(with_ramp, 1e-300) * (len(self.x) - 4)
        best = np.argmax(f, axis=1)
        return f[np.arange(len(f)), best], best

    def null(self, seed: int, draws: int = DRAWS) -> Array:
        """Sorted statistics under the null, shape (2, draws): straight truth, strongly curved truth."""
        rng = np.random.default_rng(seed)
        parts = []
        for _ in range(-(-draws // BLOCK)):
            noise = rng.standard_normal((BLOCK, len(self.x))) / np.sqrt(self.weight)
            parts.append(np.stack([self._largest(noise, free)[0] for free in (False, True)]))
        return np.sort(np.concatenate(parts, axis=1)[:, :draws], axis=1)


@dataclass(frozen=True)
class _Fits:
    """Least-squares fits of many curves; axes (draws,) without and (draws, ramps) with a ramp."""

    null_rss: Array
    bend: Array
    ramp_rss: Array
    ramp_slope: Array
    ramp_bend: Array


@dataclass(frozen=True)
class _Basis:
    """A polynomial basis and the ramps freed of it, both scaled by the roots of the weights."""

    q: Array
    ramps: Array  # unit vectors orthogonal to q
    bend: Array  # leading coefficient from the curve
    ramp_bend: Array  # leading coefficient taken by each unit ramp

    @staticmethod
    def make(columns: Array, weight: Array, ramps: Array) -> _Basis:
        root = np.sqrt(weight)
        columns = columns * root[:, None]
        q = np.linalg.qr(columns)[0]
        scaled = ramps * root
        free = scaled - scaled @ q @ q.T
        length = np.linalg.norm(free, axis=1)
        usable = length > 1e-8
        length = np.where(usable, length, 1.0)
        pseudo = np.linalg.pinv(columns)[0]
        bend = scaled @ pseudo / length
        return _Basis(q, np.where(usable[:, None], free / length[:, None], 0.0), pseudo, bend)

    def fit(self, y: Array) -> _Fits:
        """`y` scaled by the roots of the weights, shape (draws, sizes)."""
        rest = y - y @ self.q @ self.q.T
        null_rss = np.sum(rest**2, axis=1)
        slope = rest @ self.ramps.T
        bend = y @ self.bend
        ramp_rss = null_rss[:, None] - slope**2
        return _Fits(null_rss, bend, ramp_rss, slope, bend[:, None] - slope * self.ramp_bend)


def p_value(design: Design, y: Array, seed: int, draws: int = DRAWS) -> tuple[float, float]:
    """The statistic of one curve of size means `y` and its p-value, (1 + larger draws)/(1 + draws)."""
    found = float(design.statistic(y[None])[0])
    null = null_of(design, seed, draws)
    larger = null.shape[1] - np.array([np.searchsorted(row, found, side="left") for row in null])
    return found, float((1 + larger.max()) / (1 + null.shape[1]))


def critical_value(design: Design, level: float, seed: int, draws: int = DRAWS) -> float:
    """The statistic that a smooth truth exceeds with probability `level`."""
    return float(np.quantile(null_of(design, seed, draws), 1 - level, axis=1).max())


def null_of(design: Design, seed: int, draws: int = DRAWS) -> Array:
    """The simulated null of the design, from the user's cache where it is there."""
    words = f"{LAYOUT} {seed} {draws} {_scaled(design.x).tolist()} {_scaled(design.weight).tolist()}"
    path = cache_folder() / f"{hashlib.sha256(words.encode()).hexdigest()[:24]}.npy"
    try:
        kept = np.load(path)
        if kept.shape == (2, draws):
            return np.asarray(kept, float)
    except (OSError, ValueError):
        pass
    simulated = design.null(seed, draws)
    _keep(path, simulated)
    return simulated


def _scaled(values: Array) -> Array:
    """Shifted and scaled so that equal designs have equal names: the statistic depends on ratios only."""
    span = np.ptp(values)
    return np.round((values - values.min()) / span if span > 0 else np.ones_like(values), 6)


def cache_folder() -> Path:
    """Return the folder of simulated nulls: `emergence` in the cache."""
    return cache_root() / "emergence"


def _keep(path: Path, values: Array) -> None:
    """Save for the next time; a folder that cannot be written costs time, nothing else."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(temporary, values)
        os.replace(temporary, path)
    except OSError:
        return
