"""Accuracy from loss, the second of two steps: size and data give the loss, and the loss the accuracy.

accuracy = floor + (top − floor) / (1 + exp(steepness·(loss − middle))), by least squares over all runs. Noise
as large as the residuals is added to the fitted accuracies and the curve is fitted again; so the draws hold
what few runs leave open. A rise that has not begun in the fitted runs cannot be predicted.

References: Bhagia et al. 2024, arXiv:2412.04403, section 3.2 (the sigmoid in the loss of a task).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from analysis.arrays import Array
from analysis.averaging.average import weighted_quantiles
from analysis.prediction.predictor import Predictor
from analysis.records.predictions import AccuracyRecord, Estimated, PredictionRecord
from harness.records.errors import InputError

DRAWS = 200
LEAST_ROWS = 6  # two more than the curve has parameters
LEAST_RISE = 0.05  # range of accuracies below which the curve is not determined
STEEPEST = 60.0  # per nat
SLOPES = (1.0, 3.0, 9.0, 27.0)  # starts of the steepness


@dataclass(frozen=True)
class AccuracyCurve:
    """Accuracy as a function of the loss.

    Attributes:
        theta: floor, top, steepness per nat, loss of the middle.
        samples: the same, fitted to accuracies with noise [draws, 4].
        sd: standard deviation of the accuracy of one run around the curve.
        rows: number of runs behind it.
    """

    theta: Array
    samples: Array
    sd: float
    rows: int

    def to_record(self) -> AccuracyRecord:
        """Return the record of the curve."""
        floor, top, steepness, middle = map(float, self.theta)
        return AccuracyRecord(floor, top, steepness, middle, self.sd, self.rows)


def accuracy_of(theta: Array, loss: Array) -> Array:
    """Return the accuracy at a loss; `theta` [..., 4] and the loss broadcast."""
    floor, top, steepness, middle = np.moveaxis(np.asarray(theta), -1, 0)
    return np.asarray(floor + (top - floor) * expit(steepness * (middle - loss)))


def fit_accuracy(
    loss: Array, accuracy: Array, *, chance: float | None = None, seed: int = 0
) -> AccuracyCurve:
    """Fit the curve to finished runs.

    Args:
        loss: nats per token [runs].
        accuracy: shares between 0 and 1 [runs].
        chance: accuracy of guessing, the floor; None fits it.
        seed: of the noise that is added.

    Raises:
        InputError: too few runs, accuracies that are no shares, or that have hardly risen.
    """
    if len(loss) < LEAST_ROWS:
        raise InputError(f"accuracy needs {LEAST_ROWS} runs, got {len(loss)}: add runs", "accuracy")
    if accuracy.min() < 0 or accuracy.max() > 1:
        worst = accuracy.max() if accuracy.max() > 1 else accuracy.min()
        raise InputError(
            f"accuracy is {worst:g} in one run, expected shares between 0 and 1: divide percentages by 100",
            "accuracy",
        )
    if np.ptp(accuracy) < LEAST_RISE:
        raise InputError(
            f"accuracy lies between {accuracy.min():.3g} and {accuracy.max():.3g} in all runs, expected a "
            f"rise of {LEAST_RISE:g} or more: a rise that has not begun cannot be predicted",
            "accuracy",
        )
    starts = [_start(loss, accuracy, slope, chance) for slope in SLOPES]
    theta = min((_solved(loss, accuracy, start, chance) for start in starts), key=lambda one: one[1])[0]
    fitted = accuracy_of(theta, loss)
    free = len(theta) - (chance is not None)
    sd = float(np.sqrt(np.sum((accuracy - fitted) ** 2) / max(len(loss) - free, 1)))
    rng = np.random.default_rng(seed)
    freedom = max(len(loss) - free, 1)
    # The variance itself is estimated: so the noise that is added is Student's t.
    scales = sd * np.sqrt(freedom / rng.chisquare(freedom, DRAWS))
    samples = np.array(
        [_solved(loss, fitted + scale * rng.standard_normal(len(loss)), theta, chance)[0] for scale in scales]
    )
    return AccuracyCurve(theta, samples, sd, len(loss))


def with_accuracy(
    found: PredictionRecord, curve: AccuracyCurve, predictor: Predictor, seed: int = 0
) -> PredictionRecord:
    """Return a prediction with the accuracy of one new run, over the draws of the laws and of the curve."""
    value = float(accuracy_of(curve.theta, np.array(found.loss.value)))
    losses, weights = predictor.loss_draws(found)
    if len(losses) == 0:
        return replace(found, accuracy=Estimated(value))
    rng = np.random.default_rng(seed)
    theta = curve.samples[rng.integers(len(curve.samples), size=len(losses))]
    drawn = accuracy_of(theta, losses) + curve.sd * rng.standard_normal(len(losses))
    low, _, high = weighted_quantiles(np.clip(drawn, 0, 1), weights, predictor.level)
    return replace(found, accuracy=Estimated(value, (float(low), float(high))))


def _start(loss: Array, accuracy: Array, slope: float, chance: float | None) -> Array:
    floor = float(accuracy.min()) if chance is None else chance
    half = 0.5 * (floor + accuracy.max())
    middle = loss[np.argmin(np.abs(accuracy - half))]
    return np.array([floor, min(1.0, accuracy.max() + 0.1), slope, middle])


def _solved(loss: Array, accuracy: Array, start: Array, chance: float | None) -> tuple[Array, float]:
    """Return the parameters of least squares and their sum of squares."""
    span = max(float(np.ptp(loss)), 0.1)
    lower = np.array([0.0, 0.0, 1e-3, loss.min() - 3 * span])
    upper = np.array([1.0, 1.0, STEEPEST, loss.max() + 3 * span])
    if chance is not None:
        lower[0], upper[0] = chance - 1e-9, chance + 1e-9
    inside = np.clip(start, lower + 1e-10, upper - 1e-10)

    def gap(theta: Array) -> Array:
        return accuracy_of(theta, loss) - accuracy

    found = least_squares(gap, inside, bounds=(lower, upper), x_scale=[0.1, 0.1, 1, 0.1])
    return np.asarray(found.x), float(2 * found.cost)
