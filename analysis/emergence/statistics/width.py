"""10–90 % width of a fall in ln NLL: a logistic in log size with profile-likelihood limits.

y = high − drop/(1 + exp(−(x − centre)/scale)) with drop ≥ 0; the 10–90 % width is 2·ln 9·scale decades.
The width is profiled: each width of a grid takes its best centre, level and drop. A width lies inside the
limits if RSS ≤ RSS_min·(1 + t²/f), with the one-sided quantile t of Student's t on f = sizes − 4 degrees of
freedom. A fall that goes on beyond the sizes can have any width, and its upper limit is then ∞.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.emergence.statistics.sharpness import Design

PER_SCALE = 2 * np.log(9.0)  # 10–90 % width of a logistic over its scale
NARROW = 0.6  # decades; a jump is narrower than this
UPPER_LEVEL = 0.95  # one-sided confidence of each limit
WIDTHS = np.geomspace(0.02, 20, 90)  # decades
CENTRES = 81
BEYOND = 0.5  # ranges of the sizes by which centres may lie outside them


@dataclass(frozen=True)
class Width:
    """Logistic fits of many curves [draws]; NaN, except for `drop`, if nothing falls.

    Attributes:
        width: 10–90 % width, decades.
        lower: one-sided lower limit of the width, decades.
        upper: one-sided upper limit, decades; ∞ if it is unbounded.
        centre: midpoint of the fall, decades.
        drop: height of the fall in ln NLL.
    """

    width: Array
    lower: Array
    upper: Array
    centre: Array
    drop: Array


class LogisticGrid:
    """Logistics of every width and centre of a grid, for the sizes of one design.

    >>> x = np.linspace(0, 2, 11)
    >>> fall = -1 / (1 + np.exp(-(x - 1) * PER_SCALE / 0.4))
    >>> found = LogisticGrid(Design(x, np.ones(11))).fit(fall[None])
    >>> print(f"{found.width[0]:.1f} decades around {found.centre[0]:.1f}, drop {found.drop[0]:.1f}")
    0.4 decades around 1.0, drop 1.0
    """

    def __init__(self, design: Design) -> None:
        x, span = design.x, float(np.ptp(design.x))
        self.weight = design.weight
        self.centres = np.linspace(x[0] - BEYOND * span, x[-1] + BEYOND * span, CENTRES)
        scales = WIDTHS / PER_SCALE
        z = (x - self.centres[:, None]) / scales[:, None, None]
        shapes = 1 / (1 + np.exp(-np.clip(z, -500, 500)))  # [widths, centres, sizes]
        root = np.sqrt(self.weight)
        free = shapes - (shapes @ self.weight / self.weight.sum())[..., None]
        self.length = np.linalg.norm(free * root, axis=-1)
        # A logistic that is flat over all sizes cannot fit a fall.
        usable = self.length > 1e-9
        self.units = np.where(usable[..., None], free * root / np.where(usable, self.length, 1)[..., None], 0)

    def fit(self, y: Array, level: float = UPPER_LEVEL) -> Width:
        """Fit each row of `y` [draws, sizes], with one-sided limits of confidence `level`."""
        k = y.shape[1]
        mean = y @ self.weight / self.weight.sum()
        rest = (y - mean[:, None]) * np.sqrt(self.weight)
        fall = np.maximum(-(rest @ self.units.reshape(-1, k).T), 0).reshape(len(y), *self.length.shape)
        total = np.sum(rest**2, axis=1)
        rss = np.maximum(total[:, None] - (fall**2).max(axis=2), 1e-300)  # profiled over centres
        best = np.argmin(rss, axis=1)
        row = np.arange(len(y))
        lowest = rss[row, best]
        cut = lowest * (1 + stats.t.ppf(level, k - 4) ** 2 / (k - 4))
        inside = rss <= cut[:, None]
        # One step of the grid outwards, because the limit lies between two of its widths.
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
