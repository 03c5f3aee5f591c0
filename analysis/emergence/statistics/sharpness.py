"""Sup-F test for a jump on a slope in ln NLL, with Monte-Carlo critical values.

The unit of analysis is one value per model size: the mean of ln NLL over its seeds. Under the null, ln NLL is
a smooth law. It is a quadratic in log size that does not rise at the smallest size, or a line that levels off
in a bend or an exponential. These hold power laws with and without a floor, exponential saturation, and any
acceleration without a corner. The alternative adds a downward jump to a quadratic. Jumps are ramps and
logistics of unknown place and width; a ramp that ends at the last size is a hinge. The statistic is the
largest F over all jumps; a jump upwards does not count.

The supremum over jumps does not follow an F distribution. Its null is simulated for the sizes and seeds in
use, for two truths that no other law of the null can fit. One is a strongly curved quadratic, one such a
quadratic that is flat at the smallest size, where the bound is active. The larger of the two p-values counts.
Every other smooth truth is rejected less often.

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
from scipy import stats

from analysis.arrays import Array
from analysis.emergence.statistics.shapes import bend, centred, directions, logistic, ramp
from harness.records.paths import cache_root

SIGNIFICANCE = 0.05  # family-wise level over the tasks and lengths of an axis, by Holm

MIN_SIZES = 7  # with fewer, the four free parameters leave too few degrees of freedom
FREE = 4  # linear parameters of a jump on a quadratic
BEFORE = 2  # sizes at or before the start of a jump
AFTER = 2  # sizes beyond it
# Shares of the range of sizes: the statistic does not depend on the unit of x.
WIDTHS = (0.1, 0.2, 0.3, 0.4, 0.6)  # of logistic jumps
CENTRES = 25
SOFTNESS = (0.013, 0.033, 0.067, 0.13, 0.27, 0.53, 1.07)  # of bends that level off
BENDS = 30
RATES = (-6.0, -3.75, -2.25, -1.5, -0.75)  # of exponential saturation, over half the range
JUMP = 0.3  # decades, 10–90 % width of the jump that power and the largest jump speak of
LARGEST_LEVEL = 0.95  # one-sided confidence of the largest jump
DRAWS = 10_000  # simulated nulls, so that the smallest p-value is 1e-4
BLOCK = 2000  # draws at a time, to bound the memory
STRONG = 1e3  # curvature of the simulated nulls in standard deviations, far beyond any bound
LAYOUT = 2  # version of cached nulls; raise it when the statistic changes


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
    def root(self) -> Array:
        """Square roots of the weights, which scale curves and shapes [sizes]."""
        return np.sqrt(self.weight)

    @property
    def span(self) -> float:
        """Decades from the smallest to the largest size."""
        return float(self.x[-1] - self.x[0])

    @cached_property
    def jumps(self) -> Array:
        """Candidate jumps from 0 to 1, one a row [jumps, sizes]."""
        x, k = self.x, len(self.x)
        pairs = [(i, j) for i in range(BEFORE - 1, k - AFTER) for j in range(i + 1, k)]
        ramps = [ramp(x, float(x[i]), float(x[j])) for i, j in pairs]
        centres = np.linspace(x[BEFORE - 1], x[k - AFTER], CENTRES)
        return np.array([*ramps, *(logistic(x, at, share * self.span) for share in WIDTHS for at in centres)])

    @cached_property
    def _line(self) -> Array:
        return self._basis(centred(self.x))

    @cached_property
    def _quadratic(self) -> Array:
        return self._basis(centred(self.x), centred(self.x) ** 2)

    @cached_property
    def _flat_start(self) -> Array:
        """Quadratic whose vertex is the smallest size."""
        return self._basis((centred(self.x) + 1) ** 2)

    def _basis(self, *columns: Array) -> Array:
        """Return an orthonormal basis of a constant and the columns [sizes, columns]."""
        found = np.column_stack([np.ones_like(self.x), *columns]) * self.root[:, None]
        return np.asarray(np.linalg.qr(found)[0])

    @cached_property
    def _jump_directions(self) -> Array:
        return directions(self.jumps * self.root, self._quadratic)[0]

    @cached_property
    def _levelling(self) -> Array:
        """Directions of the shapes by which a falling line levels off [shapes, sizes]."""
        x, u = self.x, centred(self.x)
        ends = np.linspace(x[0] - self.span / 2, x[-1], BENDS)
        bends = [bend(x, at, share * self.span) for share in SOFTNESS for at in ends]
        found = np.array([*bends, *(np.exp(rate * u) for rate in RATES)])
        return directions(found * self.root, self._line)[0]

    @cached_property
    def _shape_of_quadratic(self) -> Array:
        """Curvature, and slope at the smallest size, as linear functions of a scaled curve [2, sizes]."""
        u = centred(self.x)
        columns = np.column_stack([np.ones_like(u), u, u**2]) * self.root[:, None]
        inverse = np.linalg.pinv(columns)
        return np.stack([inverse[2], inverse[1] + 2 * u[0] * inverse[2]])

    def statistic(self, y: Array) -> Array:
        """Return the sup-F of each row of `y` [draws, sizes]; 0 if no jump goes down."""
        scaled = (y - y.mean(axis=1, keepdims=True)) * self.root
        rest = _off(scaled, self._quadratic)
        quadratic = np.sum(rest**2, axis=1)
        with_jump = quadratic - (np.minimum(rest @ self._jump_directions.T, 0) ** 2).max(axis=1)
        curvature, slope = self._shape_of_quadratic @ scaled.T
        # A quadratic that rises before it falls is no smooth law: its vertex is held at the smallest size.
        bounded = np.sum(_off(scaled, self._flat_start) ** 2, axis=1)
        quadratic = np.where((curvature < 0) & (slope > 0), bounded, quadratic)
        line = _off(scaled, self._line)
        levels = np.sum(line**2, axis=1) - (np.maximum(line @ self._levelling.T, 0) ** 2).max(axis=1)
        gain = np.maximum(np.minimum(quadratic, levels) - with_jump, 0)
        return np.asarray(gain / np.maximum(with_jump, 1e-300) * (len(self.x) - FREE))

    def largest(self, y: Array) -> float:
        """Return the height of the largest jump of JUMP decades that the curve `y` [sizes] allows, ln NLL.

        Each place takes its one-sided upper limit on a quadratic; the largest over all places counts.
        """
        x, k = self.x, len(self.x)
        centres = np.linspace(x[BEFORE - 1], x[k - AFTER], CENTRES)
        unit, length = directions(
            np.array([logistic(x, at, JUMP) for at in centres]) * self.root, self._quadratic
        )
        rest = _off((y - y.mean())[None] * self.root, self._quadratic)[0]
        size = -unit @ rest
        sd = np.sqrt(np.maximum(rest @ rest - size**2, 0) / (k - FREE))
        limits = (size + stats.t.ppf(LARGEST_LEVEL, k - FREE) * sd) / length
        return float(max(limits.max(), 0.0))

    def null(self, seed: int, draws: int = DRAWS) -> Array:
        """Simulate the null: sorted statistics [2, draws], for both of its truths."""
        rng = np.random.default_rng(seed)
        start = centred(self.x) + 1
        truths = (-STRONG * (start + 1) ** 2, -STRONG * start**2)
        parts = []
        for _ in range(-(-draws // BLOCK)):
            noise = rng.standard_normal((BLOCK, len(self.x))) / self.root
            parts.append(np.stack([self.statistic(truth + noise) for truth in truths]))
        return np.sort(np.concatenate(parts, axis=1)[:, :draws], axis=1)


def _off(y: Array, q: Array) -> Array:
    """Return what a basis leaves of scaled curves `y` [draws, sizes]."""
    return np.asarray(y - y @ q @ q.T)


def p_values(design: Design, y: Array, seed: int, draws: int = DRAWS) -> tuple[Array, Array]:
    """Return sup-F of curves of size means `y` [curves, sizes] and their Monte-Carlo p-values [curves].

    The p-value is (1 + draws that are as large)/(1 + draws), which is never 0.
    """
    found = design.statistic(y)
    null = null_of(design, seed, draws)
    larger = np.stack([null.shape[1] - np.searchsorted(row, found, side="left") for row in null])
    return found, np.asarray((1 + larger.max(axis=0)) / (1 + null.shape[1]))


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
