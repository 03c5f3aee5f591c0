"""The cheapest run of a given loss if its model answers many tokens afterwards.

Training costs F(N)·D and inference F(N)/3 a token, because a step backward costs two passes forward. With
F(N) = 6·N these are 6·N·D and 2·N. Among the runs (N, D) of one loss the sum is minimised.

References: Sardana et al. 2024, arXiv:2401.00448, section 2, equation 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from analysis.arrays import Array
from analysis.laws import Law
from analysis.prediction.predictor import Predictor
from analysis.records.predictions import Estimated
from harness.records.errors import InputError

REACH = 1e4  # sizes and tokens are searched this far beyond those of the best training run
SIZES, ZOOMS, HALVINGS = 41, 4, 60


@dataclass(frozen=True)
class DemandedRun:
    """The run of one loss whose training and inference cost least together.

    Attributes:
        n: size, parameters.
        d: training tokens.
        training_flops, inference_flops: compute of both parts, FLOPs.
        saved: share of the total that it saves against the best training run of the same loss.
    """

    n: Estimated
    d: float
    training_flops: float
    inference_flops: float
    saved: float


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
    ends = base.n.value, base.d.value
    entries = predictor.average.kept
    found = [
        _cheapest(
            predictor,
            entry.law,
            entry.samples if len(entry.samples) else entry.theta[None],
            loss,
            inference_tokens,
            ends,
        )
        for entry in entries
    ]
    n = predictor.over_draws(found, [entry.law.name for entry in entries])
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


def _tokens(law: Law, theta: Array, n: Array, loss: float, near: float) -> Array:
    """Return the tokens [draws, sizes] with which each size has the loss; infinite if none in reach does."""
    low = np.full(n.shape, math.log(near / REACH))
    high = np.full(n.shape, math.log(near * REACH**2))
    ends = law.value(theta, n, np.exp(high))
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        above = law.value(theta, n, np.exp(middle)) > loss
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(ends > loss, np.inf, np.exp(high))


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
