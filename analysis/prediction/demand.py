"""The cheapest run of a given loss if its model answers many tokens afterwards.

Training costs F(N)·D and inference F(N)/3 a token, because a step backward costs two passes forward. With
F(N) = 6·N these are 6·N·D and 2·N. Among the runs (N, D) of one loss the sum is minimised.

References: Sardana et al. 2024, arXiv:2401.00448, section 2, equation 2; Ridders 1979, "A new algorithm for
computing a single root of a real continuous function", IEEE Transactions on Circuits and Systems 26.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from analysis.arrays import Array
from analysis.averaging.average import weighted_quantiles
from analysis.laws import Law
from analysis.prediction.predictor import Predictor
from analysis.records.predictions import DemandedRun
from harness.records.errors import InputError

REACH = 1e4  # sizes and tokens are searched this far beyond those of the best training run
SIZES, ZOOMS = 41, 4  # of the search for one run
STEPS = 10  # of Ridders' method, each of which about doubles the digits
# Of a table of many demands: sizes from a hundredth to five times the best one, and draws of a law.
SMALLEST, LARGEST, TABLE_SIZES, TABLE_DRAWS = 0.01, 5.0, 97, 200


@dataclass(frozen=True)
class DemandTable:
    """Cheapest runs of several losses under several demands, each [losses, demands].

    A number is NaN where too few draws have the loss at any size in reach.

    Attributes:
        n: size.  n_low, n_high: ends of its interval.
        d: training tokens.
        training: FLOPs of the training.
    """

    n: Array
    n_low: Array
    n_high: Array
    d: Array
    training: Array


def demanded_run(predictor: Predictor, loss: float, inference_tokens: float) -> DemandedRun:
    """Return the run that reaches a loss and then answers `inference_tokens` for the least compute.

    Args:
        predictor: laws on a table.
        loss: nats per token.
        inference_tokens: tokens read or written after training, over the life of the model.

    Raises:
        InputError: the tokens are negative, or no run in reach has this loss.
    """
    if not 0 <= inference_tokens < math.inf:
        raise InputError(
            f"inference_tokens is {inference_tokens:g}, expected 0 or a positive number", "demand"
        )
    base = predictor.best(loss=loss)
    near = base.n.value, base.d.value
    n = predictor.over_draws(
        lambda law, theta: _cheapest(predictor, law, theta, loss, inference_tokens, near)
    )
    d = _tokens_for(predictor, n.value, loss, base.d.value)
    cost = float(predictor.cost(np.array([n.value]))[0])
    training, inference = cost * d, cost / 3 * inference_tokens
    least = base.flops.value + float(predictor.cost(np.array([base.n.value]))[0]) / 3 * inference_tokens
    return DemandedRun(n, d, training, inference, 1 - (training + inference) / least)


def _cheapest(
    predictor: Predictor, law: Law, theta: Array, loss: float, demand: float, near: tuple[float, float]
) -> Array:
    """Return the size of least total compute under each estimate [draws]; NaN if it never has the loss."""
    low = np.full(len(theta), math.log(near[0] / REACH))
    high = np.full(len(theta), math.log(near[0] * REACH))
    share = np.linspace(0, 1, SIZES)
    for _ in range(ZOOMS):
        log_n = low[:, None] + (high - low)[:, None] * share
        n = np.exp(log_n)
        d = _tokens(law, theta, n, loss, near[1])
        total = predictor.cost(n) * (d + demand / 3)
        best = np.clip(np.argmin(total, axis=1), 1, SIZES - 2)[:, None]
        low, centre, high = (np.take_along_axis(log_n, best + k, 1)[:, 0] for k in (-1, 0, 1))
    reached = np.isfinite(np.take_along_axis(total, best, 1)[:, 0])
    return np.where(reached, np.exp(centre), np.nan)


def demand_table(predictor: Predictor, n: Array, d: Array, flops: Array, demand: Array) -> DemandTable:
    """Return the cheapest runs of many losses and demands at once, to be read between.

    A size is the median over draws, also of a law that stands alone. Sizes are scaled so that without demand
    they are the given ones.

    Args:
        predictor: laws on a table, with draws.
        n, d: size and tokens of the best training run of each loss [losses].
        flops: its training compute [losses], FLOPs.
        demand: tokens read or written after training [losses, demands].
    """
    demand = np.column_stack([np.zeros(len(n)), demand])
    log_n = np.log(n)[:, None] + np.linspace(math.log(SMALLEST), math.log(LARGEST), TABLE_SIZES)
    loss = _median_loss(predictor, n[:, None], d[:, None], flops[:, None])
    rows = zip(log_n, loss[:, 0], d, demand, strict=True)
    ends = np.stack([_size_over_laws(predictor, *row) for row in rows], axis=1)
    low, sizes, high = ends[..., 1:] * (n / ends[1, :, 0])[:, None]
    cost = predictor.cost(sizes)
    start = np.broadcast_to(np.log(d)[:, None], sizes.shape)
    log_d = _falling_root(
        lambda x: np.log(_median_loss(predictor, sizes, np.exp(x), cost * np.exp(x)) / loss),
        start - math.log(REACH),
        start + 2 * math.log(REACH),
    )
    return DemandTable(sizes, low, high, np.exp(log_d), cost * np.exp(log_d))


def _size_over_laws(predictor: Predictor, log_n: Array, loss: float, near: float, demand: Array) -> Array:
    """Return lower end, median and upper end of the cheapest size [3, demands]; NaN for one out of reach.

    The arguments are those of `_cheapest_on`.
    """
    drawn, weights = predictor.average.draws(
        lambda law, samples: _cheapest_on(predictor, law, samples[:TABLE_DRAWS], log_n, loss, near, demand)
    )
    ends = weighted_quantiles(np.nan_to_num(drawn, nan=np.inf), weights, predictor.level)
    return np.where(np.isfinite(ends), ends, np.nan)


def _median_loss(predictor: Predictor, n: Array, d: Array, flops: Array) -> Array:
    """Return the median loss of the draws of all laws, of the shape of n, d and flops."""
    flat = [each.ravel() for each in np.broadcast_arrays(n, d, flops)]
    logs, weights = predictor.average.draws(lambda law, samples: np.log(law.value(samples, *flat)))
    middle = weighted_quantiles(logs, weights, predictor.level)[1]
    return np.asarray(np.exp(middle).reshape(np.broadcast_shapes(n.shape, d.shape, flops.shape)))


def _cheapest_on(
    predictor: Predictor, law: Law, theta: Array, log_n: Array, loss: float, near: float, demand: Array
) -> Array:
    """Return the size of least total compute [draws, demands]; NaN if none has the loss.

    Args:
        predictor: prices tokens.
        law: its estimates are theta [draws, params].
        log_n: logarithms of the sizes to choose from, evenly spaced; a parabola is followed between them.
        loss: nats per token.
        near: tokens near which the sizes have it.
        demand: tokens read or written after training [demands].
    """
    n = np.broadcast_to(np.exp(log_n), (len(theta), len(log_n)))
    spent = predictor.cost(n) * _tokens(law, theta, n, loss, near)
    total = spent[:, None, :] + predictor.cost(n)[:, None, :] * demand[:, None] / 3
    best = np.clip(np.argmin(total, axis=-1), 1, len(log_n) - 2)[..., None]
    left, middle, right = (np.log(np.take_along_axis(total, best + k, -1)[..., 0]) for k in (-1, 0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        step = (left - right) / (2 * (left - 2 * middle + right))
    # Beside a size that never has the loss there is no parabola.
    step = np.where(np.isfinite(step), np.clip(step, -1, 1), 0.0)
    found = np.exp(log_n[best[..., 0]] + step * (log_n[1] - log_n[0]))
    return np.where(np.isfinite(middle), found, np.nan)


def _tokens(law: Law, theta: Array, n: Array, loss: float, near: float) -> Array:
    """Return the tokens [draws, sizes] with which each size has the loss; infinite if none in reach does."""
    low = np.full(n.shape, math.log(near / REACH))
    high = np.full(n.shape, math.log(near * REACH**2))
    ends = law.value(theta, n, np.exp(high))
    found = _falling_root(lambda x: np.log(law.value(theta, n, np.exp(x)) / loss), low, high)
    return np.where(ends > loss, np.inf, np.exp(found))


def _falling_root(of: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return where functions that fall from above 0 to below it are 0, by the method of Ridders.

    Where there is no change of sign the result is the nearer end.
    """
    above, below = of(low), of(high)
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        value = of(middle)
        root = np.sqrt(np.maximum(value**2 - above * below, 1e-300))
        guess = np.clip(middle + (middle - low) * value / root, low, high)
        at_guess = of(guess)
        # Of the two inner points the ones next to the change of sign become the ends.
        for x, y in ((middle, value), (guess, at_guess)):
            low, above = np.where((y > 0) & (x > low), (x, y), (low, above))
            high, below = np.where((y <= 0) & (x < high), (x, y), (high, below))
    return np.where(above <= 0, low, np.where(below > 0, high, 0.5 * (low + high)))


def _tokens_for(predictor: Predictor, n: float, loss: float, near: float) -> float:
    """Return the tokens with which a size has the loss that the laws predict together."""

    def gap(log_d: float) -> float:
        return predictor.expected_loss(n, math.exp(log_d)) - loss

    low, high = math.log(near / REACH), math.log(near * REACH**2)
    if gap(low) < 0 or gap(high) > 0:
        raise InputError(
            f"no number of tokens in reach gives a loss of {loss:.4g}: ask for another loss", "loss"
        )
    return math.exp(float(brentq(gap, low, high, xtol=1e-8)))
