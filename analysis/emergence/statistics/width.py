"""Width, height and place of a jump in ln NLL on top of a smooth law, with profile-likelihood limits.

y = level − fall·g(x) − height·logistic(x), with fall ≥ 0 and height ≥ 0. The logistic has a 10–90 % width in
decades. The smooth part g is a falling line, a power law in the metric. It is an exponential in x instead if
an F test rejects the line. Each width of a grid takes its best centre, level and coefficients. A width lies
inside the limits if RSS ≤ RSS_min + t²·s², with the one-sided quantile t of Student's t. If an F test does
not need the slope either, the limits are the union of those with and without it.

The noise s² is the scatter about the best jump, pooled with the variance between seeds. It is the scatter
alone if that is significantly larger, because sizes then differ by more than seeds do. The upper limit is ∞
if a bend in the slope, which has no end, describes the sizes as well as the best jump does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

from analysis.arrays import Array, Codes, Mask
from analysis.emergence.statistics.shapes import bend, centred, directions, logistic
from analysis.emergence.statistics.sharpness import Design

NARROW = 0.6  # decades; a jump is narrower than this
UPPER_LEVEL = 0.95  # one-sided confidence of each limit
WIDTHS = np.geomspace(0.02, 20, 90)  # decades
CENTRES = 61
BEYOND = 0.5  # ranges of the sizes by which centres may lie outside them
RATES = (-5.0, -2.5, -1.0, 1.0)  # of a curved smooth part, over half the range
BENT = 0.05  # p-value of the F test below which the smooth part is curved
SLOPED = 0.1  # p-value of the F test below which it has a slope at all
SCATTER = 0.1  # p-value of the F test below which sizes scatter more than seeds
SOFTNESS = (0.013, 0.067, 0.13, 0.27, 0.53)  # of bends, over the range of sizes
BENDS = 25
FREE = 5  # level, fall, height, centre and width
BLOCK = 100  # curves at a time, to bound the memory
ONSET = 0.5  # rate of the fall at the smallest sizes over its largest, below which the fall sets in late


@dataclass(frozen=True)
class Jumps:
    """Best jump of many curves [draws]; NaN, except for `height` and `share`, if nothing falls.

    Attributes:
        width: 10–90 % width, decades.
        lower: one-sided lower limit of the width, decades.
        upper: one-sided upper limit, decades; ∞ if it is unbounded.
        centre: midpoint of the jump, decades.
        height: fall of the jump from the smallest to the largest size, ln NLL.
        share: that height over the whole fall of the fitted curve; at most 1.
        onset: whether the fitted curve falls slower at the smallest sizes than later.
    """

    width: Array
    lower: Array
    upper: Array
    centre: Array
    height: Array
    share: Array
    onset: Array


@dataclass(frozen=True)
class _Part:
    """One smooth part: fits of all jumps on top of it [draws, jumps]."""

    explained: Array  # sum of squares
    fall: Array  # of the smooth part from the smallest to the largest size
    height: Array  # of the logistic, from −∞ to ∞


class JumpGrid:
    """Jumps of every width and centre of a grid on smooth laws, for the sizes of one design.

    Args:
        design: sizes and seeds.
        slope: whether there is a smooth part; without it the curve falls between two levels.

    >>> x = np.linspace(0, 2, 11)
    >>> curve = -0.5 * x - logistic(x, 1.0, 0.4)
    >>> found = JumpGrid(Design(x, np.ones(11))).fit(curve[None])
    >>> print(f"{found.width[0]:.1f} decades around {found.centre[0]:.1f}, {found.share[0]:.1f} of the fall")
    0.4 decades around 1.0, 0.5 of the fall
    """

    def __init__(self, design: Design, slope: bool = True) -> None:
        x = design.x
        self.design, self.slope = design, slope
        self.root = design.root
        level = self.root / np.linalg.norm(self.root)
        centres = np.linspace(x[0] - BEYOND * design.span, x[-1] + BEYOND * design.span, CENTRES)
        self.jumps = logistic(x, np.tile(centres, len(WIDTHS))[:, None], np.repeat(WIDTHS, CENTRES)[:, None])
        self.centres = np.tile(centres, len(WIDTHS))
        self.width_of = np.repeat(np.arange(len(WIDTHS)), CENTRES)
        scaled = self.jumps * self.root
        self.level = level[:, None]
        self.free = scaled - (scaled @ level)[:, None] * level
        self.alone, self.alone_length = directions(scaled, self.level)
        u = centred(x)
        self.line = u
        self.curved = [np.expm1(rate * u) / rate for rate in RATES]
        ends = np.linspace(x[1], x[-2], BENDS)
        bends = np.array([bend(x, at, share * design.span) for share in SOFTNESS for at in ends])
        basis = np.linalg.qr(np.column_stack([np.ones_like(u), u]) * self.root[:, None])[0]
        self.sloped, self.bends = basis, directions(bends * self.root, basis)[0]

    def fit(
        self,
        y: Array,
        seed_variance: Array | float = 0.0,
        freedom: int = 0,
        level: float = UPPER_LEVEL,
    ) -> Jumps:
        """Fit each row of `y` [draws, sizes].

        Args:
            y: means of ln NLL by size.
            seed_variance: variance of ln NLL between seeds of one size, pooled over sizes [draws].
            freedom: its degrees of freedom; 0 if no size has several seeds.
            level: one-sided confidence of each limit.
        """
        variance = np.broadcast_to(np.asarray(seed_variance, float), len(y))
        blocks = []
        for start in range(0, len(y), BLOCK):
            block = slice(start, start + BLOCK)
            blocks.append(self._fit(y[block], variance[block], freedom, level))
        names = [each.name for each in fields(Jumps)]
        return Jumps(*(np.concatenate([getattr(block, name) for block in blocks]) for name in names))

    def _fit(self, y: Array, seed_variance: Array, freedom: int, level: float) -> Jumps:
        k = len(self.design.x)
        scaled = (y - y.mean(axis=1, keepdims=True)) * self.root
        rest = scaled - scaled @ self.level @ self.level.T
        total = np.sum(rest**2, axis=1)
        flat = self._two_levels(rest)
        found = _better(flat, self._on(rest, self.line)) if self.slope else flat
        lowest = total - found.explained.max(axis=1)
        left = k - (FREE if self.slope else FREE - 1)
        cut = _cut(lowest, left, seed_variance, freedom, level)
        profile = total[:, None] - self._by_width(found.explained)
        curve = np.zeros(len(y), int)  # which smooth part the best jump stands on: 0 is the line
        if self.slope and left > 2:
            bent = [_better(flat, self._on(rest, shape)) for shape in self.curved]
            each = np.stack([total - part.explained.max(axis=1) for part in bent])
            best, least = np.argmin(each, axis=0), each.min(axis=0)
            bent_cut = _cut(least, left - 1, seed_variance, freedom, level)
            needed = _improves(lowest, least, left - 1, seed_variance, freedom, BENT)
            every = np.stack([total[:, None] - self._by_width(part.explained) for part in bent]).min(axis=0)
            profile = np.where(needed[:, None], np.minimum(profile, every), profile)
            cut = np.where(needed, bent_cut, cut)
            curve = np.where(needed, 1 + best, 0)
            parts, shapes = [found, *bent], [self.line, *self.curved]
        else:
            parts, shapes = [found], [self.line]
        lower, upper = _limits(profile, cut)
        if self.slope:
            upper = np.where(self._bend(scaled) <= cut, np.inf, upper)
            # A slope that cannot rise is taken for one too often, at the cost of the width of the jump.
            least = total - flat.explained.max(axis=1)
            without = _limits(
                total[:, None] - self._by_width(flat.explained),
                _cut(least, left + 1, seed_variance, freedom, level),
            )
            needless = ~_improves(least, lowest, left, seed_variance, freedom, SLOPED)
            lower = np.where(needless, np.minimum(lower, without[0]), lower)
            upper = np.where(needless, np.maximum(upper, without[1]), upper)
        return self._read(parts, shapes, curve, lower, upper)

    def _two_levels(self, rest: Array) -> _Part:
        """Fit every jump without a smooth part to curves less their level [draws, sizes]."""
        down = np.maximum(-(rest @ self.alone.T), 0)
        return _Part(down**2, np.zeros_like(down), down / self.alone_length)

    def _on(self, rest: Array, shape: Array) -> _Part:
        """Fit every jump on a smooth part that falls with `shape` [sizes]; 0 explained if it would rise."""
        free = shape * self.root
        free = free - self.level[:, 0] * (self.level[:, 0] @ free)
        size = float(np.linalg.norm(free))
        unit = free / size
        jump, length = directions(self.free, unit[:, None])
        along = rest @ unit
        down = np.maximum(-((rest - along[:, None] * unit) @ jump.T), 0)
        height = down / length
        fall = -(along[:, None] + height * (self.free @ unit)) / size
        falls = fall >= 0
        return _Part(np.where(falls, along[:, None] ** 2 + down**2, 0.0), np.where(falls, fall, 0.0), height)

    def _by_width(self, explained: Array) -> Array:
        """Return the largest explained sum of squares of each width [draws, widths]."""
        return np.asarray(explained.reshape(len(explained), len(WIDTHS), CENTRES).max(axis=2))

    def _bend(self, scaled: Array) -> Array:
        """Return the residual sum of squares of the best slope that bends downwards [draws]."""
        rest = scaled - scaled @ self.sloped @ self.sloped.T
        return np.asarray(np.sum(rest**2, axis=1) - (np.minimum(rest @ self.bends.T, 0) ** 2).max(axis=1))

    def _read(
        self, parts: list[_Part], shapes: list[Array], curve: Array, lower: Array, upper: Array
    ) -> Jumps:
        """Return the best jump of each curve with its limits."""
        row = np.arange(len(curve))
        best = np.stack([np.argmax(part.explained, axis=1) for part in parts])[curve, row]
        fall = np.stack([part.fall for part in parts])[curve, row, best]
        height = np.stack([part.height for part in parts])[curve, row, best]
        smooth, jump = np.array(shapes)[curve], self.jumps[best]
        fitted = -fall[:, None] * smooth - height[:, None] * jump
        inside = height * (jump[:, -1] - jump[:, 0])
        whole = fitted[:, 0] - fitted[:, -1]
        rate = -np.diff(fitted, axis=1) / np.diff(self.design.x)
        falls = inside > 0
        return Jumps(
            np.where(falls, WIDTHS[self.width_of[best]], np.nan),
            np.where(falls, lower, np.nan),
            np.where(falls, upper, np.nan),
            np.where(falls, self.centres[best], np.nan),
            inside,
            inside / np.maximum(whole, 1e-300),
            rate[:, 0] < ONSET * rate.max(axis=1),
        )


def _better(first: _Part, second: _Part) -> _Part:
    """Return for each curve and jump the part that explains more."""
    use = second.explained > first.explained
    return _Part(
        np.where(use, second.explained, first.explained),
        np.where(use, second.fall, first.fall),
        np.where(use, second.height, first.height),
    )


def _noise(rss: Array, left: int, seed_variance: Array, freedom: int) -> tuple[Array, Array]:
    """Return the variance of one seed and its degrees of freedom [draws]; weights count seeds."""
    scatter = rss / left
    if freedom < 1:
        return scatter, np.full(len(rss), float(left))
    pooled = (rss + freedom * seed_variance) / (left + freedom)
    agree = scatter <= seed_variance * stats.f.ppf(1 - SCATTER, left, freedom)
    return np.where(agree, pooled, scatter), np.where(agree, float(left + freedom), float(left))


def _improves(
    rss: Array, better: Array, left: int, seed_variance: Array, freedom: int, significance: float
) -> Mask:
    """Return whether one more parameter, which leaves `left` degrees of freedom, is needed by an F test."""
    noise, degrees = _noise(better, left, seed_variance, freedom)
    return np.asarray(rss - better > noise * stats.f.ppf(1 - significance, 1, degrees))


def _cut(rss: Array, left: int, seed_variance: Array, freedom: int, level: float) -> Array:
    """Return the residual sum of squares up to which a width lies inside its limits [draws]."""
    noise, degrees = _noise(rss, left, seed_variance, freedom)
    return np.asarray(np.maximum(rss + stats.t.ppf(level, degrees) ** 2 * noise, 1e-300))


def _limits(profile: Array, cut: Array) -> tuple[Array, Array]:
    """Return the lower and upper limit of the width from RSS by width [draws, widths]."""
    inside = profile <= cut[:, None]
    last = len(WIDTHS) - 1 - np.argmax(inside[:, ::-1], axis=1)
    first = np.argmax(inside, axis=1)
    upper = np.where(last < len(WIDTHS) - 1, _crossing(profile, cut, last, 1), np.inf)
    return np.where(first > 0, _crossing(profile, cut, first, -1), 0.0), upper


def _crossing(profile: Array, cut: Array, edge: Codes, step: int) -> Array:
    """Return the width at which RSS crosses the cut, beside the last width of the grid inside [draws]."""
    row = np.arange(len(profile))
    beyond = np.clip(edge + step, 0, len(WIDTHS) - 1)
    near, far = profile[row, edge], profile[row, beyond]
    part = np.clip((cut - near) / np.maximum(far - near, 1e-300), 0, 1)
    return np.asarray(WIDTHS[edge] * (WIDTHS[beyond] / WIDTHS[edge]) ** part)
