"""A row of a compute-optimal frontier, as fits.json has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrontierRow:
    """The best use of one budget, with intervals at the level of the fit.

    Attributes:
        flops: the budget C, FLOPs.
        n_opt: best size, parameters.
        d_opt: best number of tokens.
        loss: lowest loss, nats per token.
        n_low: lower end of the interval of n_opt.
        n_high: upper end.
        d_low: lower end of the interval of d_opt.
        d_high: upper end.
        loss_low: lower end of the interval of the loss; in fits.json that of one new run.
        loss_high: upper end.
        flat_low: smallest size whose loss is within 0.1 % of the lowest, parameters.
        flat_high: largest such size.
        factor: the budget over the largest fitted compute; None if that is not known.
    """

    flops: float
    n_opt: float
    d_opt: float
    loss: float
    n_low: float
    n_high: float
    d_low: float
    d_high: float
    loss_low: float
    loss_high: float
    flat_low: float
    flat_high: float
    factor: float | None = None
