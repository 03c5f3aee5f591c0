"""Whole-curve laws: the loss at every step of a run under its own learning-rate schedule.

All have the form L = E + A·S^-alpha - Σ_k (η_(k-1) - η_k)·gain_k. S is the sum of the learning rates so far.
The last sum goes over the changes of the rate η; each change lowers the loss by a gain that grows from 0:

- `multi_power`: gain = B·[1 - (1 + C·η_k^-gamma·S_k)^-beta] with S_k, the sum of rates since the change.
- `stretched`: gain = B·[1 - exp(-(C·η_k^-gamma·S_k)^beta)]: forgetting by a stretched exponential.
- `momentum`: gain = B·[1 - exp(-n_k/tau)] with n_k, the steps since the change.

References:
    multi_power: Luo et al. 2025, arXiv:2503.12811, equation 1.
    momentum: Tissue et al. 2024, arXiv:2408.11029, equation 1, with lambda = exp(-1/tau) and C = B/tau.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import Array

KNOTS = 240  # of a compressed schedule: the loss of a cosine run of 72,000 steps then moves by less than 2e-5


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule at some of its steps, the knots.

    Attributes:
        steps: step numbers, rising [knots].
        lr: learning rate at each knot [knots].
        lr_sum: sum of the learning rates of all steps up to each knot [knots].
    """

    steps: Array
    lr: Array
    lr_sum: Array

    @classmethod
    def logged(cls, steps: ArrayLike, lr: ArrayLike) -> Schedule:
        """Return the schedule through logged rates: straight lines between the rows of a log.

        Before the first row the rate rises from 0 if it rises behind that row too, else it is constant.

        Args:
            steps: steps of the rows, rising [rows].
            lr: learning rates of the rows [rows].
        """
        at, rate = np.asarray(steps, float), np.asarray(lr, float)
        if at[0] > 0:
            rising = len(rate) > 1 and rate[1] > rate[0]
            at, rate = np.append(0.0, at), np.append(0.0 if rising else rate[0], rate)
        areas = np.diff(at) * (rate[1:] + rate[:-1]) / 2
        return cls(at, rate, np.append(0.0, np.cumsum(areas)))

    @classmethod
    def compressed(cls, lr: ArrayLike, kept: ArrayLike = (), knots: int = KNOTS) -> Schedule:
        """Return the schedule of a run whose rate is known at every step, with few knots.

        Args:
            lr: learning rate of step 0, 1, 2, … [steps].
            kept: steps that become knots, because losses are wanted there.
            knots: about how many others; they are equally spaced in changes of the rate.
        """
        rate = np.asarray(lr, float)
        travel = np.append(0.0, np.cumsum(np.abs(np.diff(rate))))
        marks = np.searchsorted(travel, np.linspace(0, travel[-1], knots + 1))
        # The step before each mark too, so that a jump stays a jump.
        chosen = np.concatenate([marks, marks - 1, np.asarray(kept, int), [0, len(rate) - 1]])
        at = np.unique(np.clip(chosen, 0, len(rate) - 1))
        return cls(at.astype(float), rate[at], np.cumsum(rate)[at])

    @functools.cached_property
    def _events(self) -> tuple[Array, Array, Array, Array]:
        """Fall of the rate, rate behind it, and middle of each change, in steps and in the sum of rates."""
        fall = self.lr[:-1] - self.lr[1:]
        changed = np.flatnonzero(fall)
        middle = [(values[:-1] + values[1:])[changed] / 2 for values in (self.steps, self.lr_sum)]
        # A rate of 0 has no negative power: such a change ends the run, and what follows changes nothing.
        behind = np.maximum(self.lr[1:][changed], 1e-4 * self.lr.max())
        return fall[changed], behind, middle[0], middle[1]

    def at(self, steps: ArrayLike) -> Seen:
        """Return what a law sees of the schedule at some steps [rows], each within the knots."""
        wanted = np.asarray(steps, float)
        lr_sum = np.interp(wanted, self.steps, self.lr_sum)
        fall, behind, middle_step, middle_sum = self._events
        return Seen(
            lr_sum,
            fall,
            behind,
            np.maximum(wanted[:, None] - middle_step, 0.0),
            np.maximum(lr_sum[:, None] - middle_sum, 0.0),
        )


@dataclass(frozen=True)
class Seen:
    """A schedule as a law sees it at some steps.

    Attributes:
        lr_sum: sum of the learning rates so far [rows].
        fall: fall of the rate at each change, negative for a rise [changes].
        behind: rate behind each change [changes].
        steps_since: steps since each change, 0 before it [rows, changes].
        sum_since: sum of the rates since each change, 0 before it [rows, changes].
    """

    lr_sum: Array
    fall: Array
    behind: Array
    steps_since: Array
    sum_since: Array

    @functools.cached_property
    def log_lr_sum(self) -> Array:
        """Logarithm of `lr_sum`."""
        return np.asarray(np.log(self.lr_sum))

    @functools.cached_property
    def log_behind(self) -> Array:
        """Logarithm of `behind`."""
        return np.asarray(np.log(self.behind))


# (kernel parameters, what is seen) → gain of each change for B = 1 [rows, changes] and its derivatives by the
# parameters, without the factor B.
Kernel = Callable[[Array, Seen], tuple[Array, list[Array]]]


@dataclass(frozen=True)
class CurveLaw:
    """A whole-curve law.

    Attributes:
        name: how it is asked for.
        formula: for the reader.
        kernel_params: names of the parameters of the gain, behind E, A, alpha and B.
        kernel: the gain.
        reference: the paper.
    """

    name: str
    formula: str
    kernel_params: tuple[str, ...]
    kernel: Kernel
    reference: str = ""

    @property
    def params(self) -> tuple[str, ...]:
        """All parameters in order."""
        return ("E", "A", "alpha", "B", *self.kernel_params)

    def loss(self, theta: ArrayLike, seen: Seen) -> Array:
        """Return the loss at the seen steps, nats per token [rows].

        Args:
            theta: parameters in the order of `params`.
            seen: the schedule at those steps.
        """
        return self.loss_and_slope(theta, seen)[0]

    def loss_and_slope(self, theta: ArrayLike, seen: Seen) -> tuple[Array, Array]:
        """Return the loss [rows] and its derivatives by the parameters [rows, params]."""
        values = np.asarray(theta, float)
        e, a, alpha, b = values[:4]
        power = seen.lr_sum**-alpha
        gain, slopes = self.kernel(values[4:], seen)
        gained = gain @ seen.fall
        loss = e + a * power - b * gained
        by_theta = np.empty((len(power), len(values)))
        by_theta[:, 0], by_theta[:, 1], by_theta[:, 3] = 1.0, power, -gained
        by_theta[:, 2] = -a * power * seen.log_lr_sum
        for column, slope in enumerate(slopes, 4):
            by_theta[:, column] = -b * (slope @ seen.fall)
        return loss, by_theta


def _multi_power(params: Array, seen: Seen) -> tuple[Array, list[Array]]:
    c, beta, gamma = params
    x = c * seen.behind**-gamma * seen.sum_since
    left = (1 + x) ** -beta
    by_x = beta * left / (1 + x)
    return 1 - left, [by_x * x / c, left * np.log1p(x), -by_x * x * seen.log_behind]


def _stretched(params: Array, seen: Seen) -> tuple[Array, list[Array]]:
    c, beta, gamma = params
    x = np.maximum(c * seen.behind**-gamma * seen.sum_since, 1e-300)
    power = x**beta
    left = np.exp(-power)
    by_log = left * power  # derivative by ln x, over beta
    return 1 - left, [by_log * beta / c, by_log * np.log(x), -by_log * beta * seen.log_behind]


def _momentum(params: Array, seen: Seen) -> tuple[Array, list[Array]]:
    (tau,) = params
    x = seen.steps_since / tau
    left = np.exp(-x)
    return 1 - left, [-x * left / tau]


_CURVE = "E + A·S^-alpha - Σ (η_(k-1) - η_k)·"
CURVE_LAWS: dict[str, CurveLaw] = {
    law.name: law
    for law in (
        CurveLaw(
            "multi_power",
            f"{_CURVE}B·[1 - (1 + C·η_k^-gamma·S_k)^-beta]",
            ("C", "beta", "gamma"),
            _multi_power,
            "arXiv:2503.12811",
        ),
        CurveLaw(
            "stretched",
            f"{_CURVE}B·[1 - exp(-(C·η_k^-gamma·S_k)^beta)]",
            ("C", "beta", "gamma"),
            _stretched,
        ),
        CurveLaw(
            "momentum",
            f"{_CURVE}B·[1 - exp(-n_k/tau)]",
            ("tau",),
            _momentum,
            "arXiv:2408.11029",
        ),
    )
}
