"""Cubics through all IsoFLOP slices at once, whose lopsidedness is common to them.

Loss against log N at fixed C is steeper on one side of its minimum unless alpha = beta. A parabola through
sizes that lie unevenly about the minimum, as in interpolated slices, misses it to the flat side: by up to .1
in a. The slice of an additive law is c + k·(u² + r·u³) to third order, u = log N − log N*, and
r = (beta − alpha)/3 is the same at every C. So one number more for all slices removes the bias, where a cubic
for each would cost most of the precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.approaches.slices import Slice
from analysis.arrays import Array, Codes, Index

STEPS = 60
HALVINGS = 12  # of a step that does not lower the residuals
SETTLED = 1e-12  # relative decrease at which the search ends


@dataclass(frozen=True)
class CommonShape:
    """The fitted curves.

    Attributes:
        lopsided: r, common to all.
        low, curvature, best: c, k and log N* of each slice [slices].
        position: place of each slice among those that were given [slices].
        windows: sizes that each curve goes through.
        slope: derivative of the curves by (r, all c, all k, all log N*) [rows, 1 + 3·slices].
        resid: log loss minus curve [rows], slice after slice.
    """

    lopsided: float
    low: Array
    curvature: Array
    best: Array
    position: Index
    windows: tuple[Index, ...]
    slope: Array
    resid: Array

    def value(self, index: int, x: Array) -> Array:
        """Return the log loss of the curve of one slice at log sizes `x`."""
        u = x - self.best[index]
        return self.low[index] + self.curvature[index] * (u**2 + self.lopsided * u**3)

    def moved(self, slices: list[Slice], shocks: Array) -> Array:
        """Return log N* [slices, draws] under noise of log loss [table rows, draws], to first order."""
        change = np.linalg.pinv(self.slope) @ self._noise(slices, shocks)
        return self.best[:, None] + change[1 + 2 * len(self.best) :]

    def _noise(self, slices: list[Slice], shocks: Array) -> Array:
        """Return noise of the rows of the table as that of the rows of the curves [rows, draws]."""
        places = zip(self.position, self.windows, strict=True)
        return np.concatenate([slices[place].noise(shocks)[window] for place, window in places])

    def variance(self, slices: list[Slice], cluster: Codes) -> tuple[float, int]:
        """Return the variance of one run's log loss by the residuals, and its degrees of freedom.

        Interpolation averages noise over the rows of a cluster [rows of the table], which share it.
        """
        codes = np.unique(cluster, return_inverse=True)[1]
        shared = np.eye(codes.max() + 1)[codes]
        noise = self._noise(slices, shared)
        left = noise - self.slope @ (np.linalg.pinv(self.slope) @ noise)
        # Budgets between the same cells share noise: the freedom is that of Satterthwaite, (tr Q)² / tr Q².
        quadratic = left.T @ left
        worth = float(np.trace(quadratic))
        if worth <= 0:
            return 0.0, 0
        return float(np.sum(self.resid**2)) / worth, int(worth**2 / np.sum(quadratic**2))


def fit_common_shape(slices: list[Slice], log_loss: Array, windows: list[Index | None]) -> CommonShape | None:
    """Fit the curves by least squares to the log losses [rows of the table] of the slices that have a window.

    None if fewer rows than parameters are left.
    """
    position = np.array([i for i, window in enumerate(windows) if window is not None], dtype=np.intp)
    kept = tuple(window for window in windows if window is not None)
    sizes = [slices[i].log_n[w] for i, w in zip(position, kept, strict=True)]
    losses = [slices[i].log_loss(log_loss)[w] for i, w in zip(position, kept, strict=True)]
    count = len(kept)
    if count == 0 or sum(map(len, sizes)) <= 1 + 3 * count:
        return None
    x, y = np.concatenate(sizes), np.concatenate(losses)
    of = np.repeat(np.arange(count), list(map(len, sizes)))
    start = [_parabola(own, values) for own, values in zip(sizes, losses, strict=True)]
    theta = np.concatenate([[0.0], np.array(start).T.ravel()])
    resid, slope = _linear(theta, x, y, of, count)
    for _ in range(STEPS):
        step = np.linalg.lstsq(slope, resid, rcond=None)[0]
        before = float(resid @ resid)
        for _ in range(HALVINGS):
            after = _linear(theta + step, x, y, of, count)
            if float(after[0] @ after[0]) <= before:
                break
            step = step / 2
        else:
            break
        theta, (resid, slope) = theta + step, after
        if before - float(resid @ resid) <= SETTLED * before:
            break
    low, curvature, best = theta[1:].reshape(3, count)
    return CommonShape(float(theta[0]), low, curvature, best, position, kept, slope, resid)


def _parabola(x: Array, y: Array) -> tuple[float, float, float]:
    """Return lowest value, curvature and place of the parabola through a slice, or of its lowest size."""
    lowest = int(np.argmin(y))
    second, first, _ = np.polyfit(x - x[lowest], y, 2)
    if second <= 0:
        return float(y[lowest]), float(np.ptp(y) / np.ptp(x) ** 2), float(x[lowest])
    shift = float(np.clip(-first / (2 * second), x.min() - x[lowest], x.max() - x[lowest]))
    return float(y[lowest]), float(second), float(x[lowest] + shift)


def _linear(theta: Array, x: Array, y: Array, of: Index, count: int) -> tuple[Array, Array]:
    """Return residuals [rows] and the derivative of the curves [rows, params] at theta."""
    low, curvature, best = theta[1:].reshape(3, count)
    u, k = x - best[of], curvature[of]
    shape = u**2 + theta[0] * u**3
    own = np.eye(count)[of]
    by_best = -k * (2 * u + 3 * theta[0] * u**2)
    slope = np.column_stack([k * u**3, own, own * shape[:, None], own * by_best[:, None]])
    return y - low[of] - k * shape, slope
