"""How wide is a fall? The 10–90 % width of a logistic in log size fitted to ln NLL, and its upper limit.

y = high − drop/(1 + exp(−(x − centre)/scale)), drop ≥ 0; the width is 2·ln 9·scale decades. The limit is
that of the profile likelihood: the largest width whose best fit is not worse than the best of all by the
one-sided quantile of Student's t with (sizes − 4) degrees of freedom. A fall that goes on beyond the sizes
can be of any width, and then the limit says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.emergence.statistics.sharpness import Design

PER_SCALE = 2 * np.log(9.0)  # 10–90 % width over the scale of a logistic
NARROW = 0.6  # decades; a jump is narrower than this
UPPER_LEVEL = 0.95  # confidence of the upper limit
WIDTHS = np.geomspace(0.02, 20, 90)  # decades
CENTRES = 81
BEYOND = 0.5  # centres are searched so many spans beyond the sizes


@dataclass(frozen=True)
class Width:
    """Width with its one-sided limits and centre in decades, drop in ln NLL; nan where nothing falls."""

    width: Array
    lower: Array
    upper: Array
    centre: Array
    drop: Array


class LogisticGrid:
    """All logistics of a design, from which the best fit of any curve is read off."""

    def __init__(self, design: Design) -> None:
        x, span = design.x, float(np.ptp(design.x))
        self.weight = design.weight
        self.centres = np.linspace(x[0] - BEYOND * span, x[-1] + BEYOND * span, CENTRES)
        scales = WIDTHS / PER_SCALE
        z = (x - self.centres[:, None]) / scales[:, None, None]
        shapes = 1 / (1 + np.exp(-np.clip(z, -500, 500)))  # (widths, centres, sizes)
        root = np.sqrt(self.weight)
        free = shapes - (shapes @ self.weight / self.weight.sum())[..., None]
        self.length = np.linalg.norm(free * root, axis=-1)
        usable = self.length > 1e-9
        self.units = np.where(usable[..., None], free * root / np.where(usable, self.length, 1)[..., None], 0)

    def fit(self, y: Array, level: float = UPPER_LEVEL) -> Width:
        """The width of each row of `y`, shape (draws, sizes), and its limit at `level`."""
        k = y.shape[1]
        mean = y @ self.weight / self.weight.sum()
        rest = (y - mean[:, None]) * np.sqrt(self.weight)
        fall = np.maximum(-(rest @ self.units.reshape(-1, k).T), 0).reshape(len(y), *self.length.shape)
        total = np.sum(rest**2, axis=1)
        rss = np.maximum(total[:, None] - (fall**2).max(axis=2), 1e-300)  # best over centres
        best = np.argmin(rss, axis=1)
        row = np.arange(len(y))
        lowest = rss[row, best]
        cut = lowest * (1 + stats.t.ppf(level, k - 4) ** 2 / (k - 4))
        inside = rss <= cut[:, None]
        # One step of the grid outwards: the limit lies between two of its widths.
        last = np.minimum(len(WIDTHS) - np.argmax(inside[:, ::-1], axis=1), len(WIDTHS) - 1)
        upper, lower = WIDTHS[last], WIDTHS[np.maximum(np.argmax(inside, axis=1) - 1, 0)]
        centre = np.argmax(fall[row, best], axis=1)
        drop = fall[row, best, centre] / np.maximum(self.length[best, centre], 1e-12)
        falls = drop > 0
        return Width(
            np.where(falls, WIDTHS[best], np.nan),
            np.where(falls, np.where(lower > WIDTHS[0], lower, 0.0), np.nan),
            np.where(falls & (upper < WIDTHS[-1]), upper, np.where(falls, np.inf, np.nan)),
            np.where(falls, self.centres[centre], np.nan),
            drop,
        )
