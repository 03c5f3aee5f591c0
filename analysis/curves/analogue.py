"""Forecast of an end by how far other runs still fell from the same share of training.

The fall ln L(end) - ln L(now) is regressed on ln size, ln last step and ln peak learning rate. Its rows are
all ends that were reached under a schedule of the same shape: those of other runs, and earlier ends of the
same run.

Runs of one seed read the same text at the same step. What that text does to the loss of a moment is common to
them: a random effect. So a run that read it before says more than one of another seed.

References: Robinson 1991, Statistical Science 6 (best linear unbiased prediction of random effects).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.arrays import Array
from analysis.curves.run import End, Run

FEWEST = 2  # ends that a forecast needs
# Prior of the slopes of the fall per e-fold of size, last step and peak rate, and of the fall itself.
SLOPE_SD, FALL_MEAN, FALL_SD = 0.03, -0.1, 0.3
# Bends of the fall that the straight lines miss: at a distance d in ln size, ln last step or ln peak rate
# they grow as d². Arms differ by a constant, and each in its own way.
BEND_SIZE, BEND_STEP, BEND_RATE, OF_ANOTHER_ARM = 0.01, 0.02, 0.01, 0.01
BENDS = np.array([BEND_SIZE, BEND_STEP, BEND_RATE, OF_ANOTHER_ARM])
# Scatter of the fall between runs: a constant part, and a share of the fall. Set by coverage.
# On nine committed sweeps the 90 % intervals then hold 87 to 98 % of the ends.
SCATTER, SCATTER_SHARE = 0.0035, 0.04
OF_THE_TEXT = 0.5  # of the variance of the scatter is common to runs that read the same text
SAME_RATE = 0.03  # largest difference of rates relative to their peaks
SAME_STEP = 1e-3  # largest difference of ln step at which runs of one seed have read the same text
LEAST_SCALE = 1.0  # least factor on the variance: few ends can lie near the line by chance
SCALE_DOF = 2  # ends that the prior of that factor, 1, counts as


@dataclass
class _Falls:
    """Falls of ends that can be compared with the one that is forecast.

    Attributes:
        distance: in ln size, ln last step, ln peak rate, and whether the arm is another [ends, 4].
        fall: of the log loss [ends].
        text: code of the text that a run had read, equal for runs of one seed at one step [ends].
        own: the code of the run that is forecast; none of the others if no other read its text.
    """

    distance: list[tuple[float, float, float, float]] = field(default_factory=list)
    fall: list[float] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    own: int = 0

    def __post_init__(self) -> None:
        self._codes: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self.fall)

    def add(self, run: Run, end: End, other: Run, reached: End, fall: float) -> None:
        """Add the fall of another run to an end of it."""
        size = np.log(other.size / run.size) if other.size and run.size else 0.0
        step, rate = np.log(reached.step / end.step), np.log(reached.peak / end.peak)
        self.distance.append((size, step, rate, float(other.arm != run.arm)))
        self.fall.append(fall)
        same = other.order and other.order == run.order and abs(step) < SAME_STEP
        # An unknown order is that of no other run.
        key = (other.order, round(reached.step)) if other.order else len(self.fall)
        self.text.append(self.own if same else self._codes.setdefault(key, len(self._codes) + 1))


def fall_to(run: Run, end: End, others: Sequence[Run]) -> tuple[float, float] | None:
    """Return the fall of the log loss from the last row of a run to its end, and its standard deviation.

    Args:
        run: the run, as far as it is known.
        end: one of its ends.
        others: other runs.

    Returns:
        None if fewer than FEWEST ends can be compared.
    """
    share = float(run.rows.steps[-1]) / end.step
    found = _Falls()
    for other in (run, *others):
        if (other.size is None) != (run.size is None):
            continue
        for reached in other.ends:
            if reached.loss is None or not reached.is_like(end):
                continue
            before = other.log_loss_at(share * reached.step)
            if before is not None:
                found.add(run, end, other, reached, np.log(reached.loss) - before)
    return _regressed(found) if len(found) >= FEWEST else None


def _regressed(found: _Falls, slope_sd: float = SLOPE_SD) -> tuple[float, float]:
    """Return the fall at distance 0 under the text of the run, and its standard deviation for one more run.

    fall = f + slopes·distance + u(text) + e, with normal priors on f, the slopes and u. The variance of e is
    a constant plus Σ (bend·distance²)². The u of the run's own text is estimated as one more column; those
    of other texts are integrated out. What is forecast is f + u, to whose variance that of e is added.
    """
    distance, fall, text = np.array(found.distance), np.array(found.fall), np.array(found.text)
    total = SCATTER**2 + (SCATTER_SHARE * float(np.median(np.abs(fall)))) ** 2
    common, alone = OF_THE_TEXT * total, (1 - OF_THE_TEXT) * total
    weight = 1 / (alone + np.sum((distance**2 * BENDS) ** 2, axis=1))
    mine = text == found.own
    columns = np.column_stack([np.ones(len(fall)), distance, mine])
    prior = np.append(np.array([FALL_SD, *[slope_sd] * distance.shape[1]]), np.sqrt(common)) ** -2.0
    expected = np.append(FALL_MEAN, np.zeros(len(prior) - 1))
    other = np.where(mine, 0.0, weight)

    def sums(values: Array) -> Array:
        return np.asarray(np.bincount(text, other * values), float)

    shrunk = 1 / (1 / common + sums(np.ones(len(fall))))
    by_text = np.array([sums(column) for column in columns.T])
    information = columns.T @ (columns * weight[:, None]) - (by_text * shrunk) @ by_text.T
    covariance = np.linalg.inv(information + np.diag(prior))
    right = columns.T @ (weight * fall) - by_text @ (shrunk * sums(fall))
    solution = covariance @ (right + prior * expected)
    residual = fall - columns @ solution
    residual -= (shrunk * sums(residual))[text] * ~mine
    # Ends near the one that is forecast say how far its kind of run scatters.
    near = (alone * weight) ** 2
    leverage = weight * np.einsum("ij,jk,ik->i", columns, covariance, columns) + other * shrunk[text]
    free = float(np.sum(near * (1 - np.minimum(leverage, 1))))
    scale = (SCALE_DOF + float(np.sum(near * weight * residual**2))) / (SCALE_DOF + free)
    at = np.zeros(len(prior))
    at[[0, -1]] = 1
    variance = max(scale, LEAST_SCALE) * (at @ covariance @ at + alone)
    return float(at @ solution), float(np.sqrt(variance))


def step_band(run: Run, others: Sequence[Run], row: int) -> tuple[float, float] | None:
    """Return the log loss expected at a row of a run from the row before, with its standard deviation.

    Other runs at the same rates say how far the loss falls between the two steps.
    """
    before, step = run.rows.steps[row - 1], run.rows.steps[row]
    falls = _Falls()
    end = End("", step, run.rows.schedule)
    for other in others:
        if (other.size is None) != (run.size is None):
            continue
        first, second = other.log_loss_at(before), other.log_loss_at(step)
        alike = all(abs(run.rate_at(at) - other.rate_at(at)) < SAME_RATE for at in (before, step))
        if first is not None and second is not None and alike:
            falls.add(run, end, other, End("", step, other.rows.schedule), second - first)
    if len(falls) < FEWEST:
        return None
    # Between neighbouring steps the fall is small, and so is its slope.
    slope_sd = SLOPE_SD * min(1.0, float(np.log(step / before)))
    fall, deviation = _regressed(falls, slope_sd)
    return float(np.log(run.rows.loss[row - 1]) + fall), float(np.hypot(deviation, run.noise))
