"""Forecast of an end by how far other runs still fell from the same share of training.

The fall ln L(end) - ln L(now) is regressed on ln size and ln last step. Its rows are all ends that were
reached under a schedule of the same shape: those of other runs, and earlier ends of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.arrays import Array
from analysis.curves.run import End, Run

FEWEST = 2  # ends that a forecast needs
# Prior of the slopes of the fall per e-fold of size and last step, and of the fall itself.
SLOPE_SD, FALL_MEAN, FALL_SD = 0.03, -0.1, 0.3
# Bends of the fall that the straight lines miss: at a distance d in ln size or ln last step they grow as d².
# Arms differ by a constant, and each in its own way.
BEND_SIZE, BEND_STEP, OF_ANOTHER_ARM = 0.01, 0.02, 0.01
# Scatter of the fall between runs: a constant part, and a share of the fall. Set by coverage.
# On the committed sweeps the 90 % intervals then hold 88 to 92 % of the ends.
SCATTER, SCATTER_SHARE = 0.0035, 0.04
SAME_RATE = 0.03  # largest difference of rates relative to their peaks
LEAST_SCALE = 1.0  # least factor on the variance: few ends can lie near the line by chance


def fall_to(run: Run, end: End, others: Sequence[Run]) -> tuple[float, float] | None:
    """Return the fall of the log loss from the last row of a run to its end, and its standard deviation.

    Args:
        run: the run, as far as it is known.
        end: one of its ends.
        others: other runs.

    Returns:
        None if fewer than FEWEST ends can be compared.
    """
    step = float(run.rows.steps[-1])
    found = np.array(list(_falls(run, end, others, step / end.step)), float)
    return _regressed(found) if len(found) >= FEWEST else None


def _falls(run: Run, end: End, others: Sequence[Run], share: float) -> Iterator[tuple[float, ...]]:
    """Yield distances in ln size, ln last step and arm, and the fall, of every end that can be compared."""
    for other in (run, *others):
        if (other.size is None) != (run.size is None):
            continue
        distance = np.log(other.size / run.size) if other.size and run.size else 0.0
        for reached in other.ends:
            if reached.loss is None or not reached.is_like(end):
                continue
            before = other.log_loss_at(share * reached.step)
            if before is not None:
                apart = np.log(reached.step / end.step)
                yield distance, apart, float(other.arm != run.arm), np.log(reached.loss) - before


def _regressed(found: Array, slope_sd: float = SLOPE_SD) -> tuple[float, float]:
    """Return the fall at distance 0 and its standard deviation for one more run."""
    distance, fall = found[:, :-1], found[:, -1]
    scatter = np.hypot(SCATTER, SCATTER_SHARE * np.median(np.abs(fall)))
    bends = distance**2 @ np.diag([BEND_SIZE, BEND_STEP, OF_ANOTHER_ARM])
    weight = 1 / (scatter**2 + np.sum(bends**2, axis=1))
    columns = np.column_stack([np.ones(len(fall)), distance])
    prior = np.array([FALL_SD, slope_sd, slope_sd, slope_sd]) ** -2.0
    covariance = np.linalg.inv(columns.T @ (columns * weight[:, None]) + np.diag(prior))
    solution = covariance @ (columns.T @ (weight * fall) + prior * np.array([FALL_MEAN, 0.0, 0.0, 0.0]))
    residual = fall - columns @ solution
    scale = max(float(np.mean(weight * residual**2)), LEAST_SCALE)
    return float(solution[0]), float(np.sqrt(scale * (covariance[0, 0] + scatter**2)))


def step_band(run: Run, others: Sequence[Run], row: int) -> tuple[float, float] | None:
    """Return the log loss expected at a row of a run from the row before, with its standard deviation.

    Other runs at the same rates say how far the loss falls between the two steps.
    """
    before, step = run.rows.steps[row - 1], run.rows.steps[row]
    falls = []
    for other in others:
        if (other.size is None) != (run.size is None):
            continue
        first, second = other.log_loss_at(before), other.log_loss_at(step)
        alike = all(abs(run.rate_at(at) - other.rate_at(at)) < SAME_RATE for at in (before, step))
        if first is not None and second is not None and alike:
            distance = np.log(other.size / run.size) if other.size and run.size else 0.0
            falls.append((distance, 0.0, float(other.arm != run.arm), second - first))
    if len(falls) < FEWEST:
        return None
    # Between neighbouring steps the fall is small, and so is its slope.
    slope_sd = SLOPE_SD * min(1.0, float(np.log(step / before)))
    fall, deviation = _regressed(np.array(falls), slope_sd)
    return float(np.log(run.rows.loss[row - 1]) + fall), float(np.hypot(deviation, run.noise))
