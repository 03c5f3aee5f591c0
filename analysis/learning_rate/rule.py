"""Power laws of the best learning rate: in width at each D and B, and in size, tokens and batch together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.records.learning_rate import RateOptimum, RateRule
from analysis.tables.seed_noise import Noise

REFERENCE_WIDTH = 64  # d_model at which recipes state their rates
FEWEST_BATCHES = 3  # that show whether the rate is a power of the batch


@dataclass(frozen=True)
class Line:
    """Weighted least squares of ln(rate) on columns of logarithms.

    If the optima scatter about the line more than their errors explain, the errors grow by that factor.
    Intervals then take Student's t with the degrees of freedom of the line, else with those of the noise.

    Attributes:
        found: coefficients, the constant first.  se: standard errors.  half: half-widths of the intervals.
        scatter: scatter of the optima over their standard errors; None with as many coefficients as optima.
    """

    found: Array
    se: Array
    half: Array
    scatter: float | None

    def interval(self, index: int) -> tuple[float, float]:
        """Return the confidence interval of a coefficient."""
        return float(self.found[index] - self.half[index]), float(self.found[index] + self.half[index])

    def rate_interval(self) -> tuple[float, float]:
        """Return the confidence interval of the rate at which all columns are 0."""
        low, high = self.interval(0)
        return float(np.exp(low)), float(np.exp(high))


def fit_line(columns: Sequence[Array], optima: Sequence[RateOptimum], noise: Noise, level: float) -> Line:
    """Regress ln(rate_opt) of `optima` on a constant and `columns`, each optimum weighted by 1/SE²."""
    se = np.array([row.se_log_rate for row in optima], float)
    log_rate = np.log(np.array([row.rate_opt for row in optima], float))
    found, cov, resid = weighted_line(columns, log_rate, 1 / se**2)
    free = len(optima) - len(found)
    scatter = float(np.sqrt(np.sum((resid / se) ** 2) / free)) if free else 0.0
    t = float(stats.t.ppf((1 + level) / 2, free if scatter > 1 else noise.dof))
    errors = max(1.0, scatter) * np.sqrt(np.diag(cov))
    return Line(found, errors, t * errors, scatter if free else None)


def weighted_line(columns: Sequence[Array], y: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return coefficients (the constant first), covariance and residuals of weighted least squares."""
    design = np.column_stack([np.ones(len(y)), *columns])
    cov = np.linalg.inv(design.T @ (design * weights[:, None]))
    found = cov @ (design.T @ (weights * y))
    return found, np.asarray(cov, float), y - design @ found


def width_column(optima: Sequence[RateOptimum]) -> Array:
    """Return ln(d_model/64) of each optimum."""
    return np.log([row.d_model / REFERENCE_WIDTH for row in optima])


def joint_rule(optima: Sequence[RateOptimum], noise: Noise, level: float) -> RateRule:
    """Fit rate = rate_64·(d_model/64)^exponent·(D/n_tokens)^tokens_exponent to all optima that count.

    `n_tokens` is the geometric mean of the token counts. If batches were swept, a further factor is
    (B/batch_tokens)^batch_exponent. A second fit takes N, the parameters in matrix products, in place of
    d_model: rate = rate_1·N^size_exponent·D^tokens_exponent. With one token count the power of D is None.

    A batch that moves with width or D has no power of its own: theirs holds it. Optima at fewer than
    FEWEST_BATCHES batches give none either, because they cannot show where a power ends.

    References:
        The best rate rises as a power of the batch, such as √B, up to a critical batch, and then no more:
        McCandlish et al., arXiv:1812.06162, section 2.2; Li et al., arXiv:2405.14578.
    """
    counted = [row for row in optima if row.reason is None]
    none = RateRule(n_optima=len(counted), reason=_too_few(len(counted), len(optima)))
    tokens = np.log([row.n_tokens for row in counted])
    several = len(set(tokens)) > 1
    # Both exponents need optima that no single line in (ln d_model, ln D) passes through.
    if len({row.d_model for row in counted}) < 2 or len(counted) < (3 if several else 2):
        return none
    columns = [tokens - tokens.mean()] if several else []
    width = width_column(counted)
    if not _independent([width, *columns]):
        return none
    batches = np.log([row.batch_tokens or 1 for row in counted])
    swept = _independent([width, *columns, batches])
    if swept:
        columns.append(batches - batches.mean())
    line = fit_line([width, *columns], counted, noise, level)
    log_n = np.log([row.n_params_matmul for row in counted])
    by_size = fit_line([log_n, *columns], counted, noise, level)
    power = by_size.found[2] if several else 0.0
    n_tried, n_batches = len({row.batch_tokens for row in optima}), len(set(batches))
    stated = swept and n_batches >= FEWEST_BATCHES
    return RateRule(
        n_optima=len(counted),
        exponent=float(line.found[1]),
        exponent_interval=line.interval(1),
        tokens_exponent=float(line.found[2]) if several else None,
        tokens_exponent_interval=line.interval(2) if several else None,
        size_exponent=float(by_size.found[1]),
        size_exponent_interval=by_size.interval(1),
        rate_1=float(np.exp(by_size.found[0] - power * tokens.mean())),
        rate_64=float(np.exp(line.found[0])),
        rate_64_interval=line.rate_interval(),
        scatter=line.scatter,
        n_tokens=round(float(np.exp(tokens.mean()))),
        batch_exponent=float(line.found[-1]) if stated else None,
        batch_exponent_interval=line.interval(len(line.found) - 1) if stated else None,
        batch_tokens=round(float(np.exp(batches.mean()))) if swept else None,
        batch_reason=None if stated else _no_power(n_tried, n_batches, swept),
    )


def _independent(columns: Sequence[Array]) -> bool:
    """Return whether no column is a combination of a constant and the others."""
    design = np.column_stack([np.ones(len(columns[0])), *columns])
    return int(np.linalg.matrix_rank(design)) == design.shape[1]


def _no_power(tried: int, counted: int, swept: bool) -> str | None:
    """Return why several batches give no power of the batch; None if one was tried."""
    if tried == 1:
        return None
    if counted > 1 and not swept:
        return "no power of the batch of its own: it moves with the width or with D, whose power holds it"
    return (
        f"no power of the batch: optima count at {counted} of {tried} batches, and it needs "
        f"{FEWEST_BATCHES}, so that a bend would show"
    )


def _too_few(counted: int, tried: int) -> str:
    return (
        f"no rule in size and tokens: {counted} of {tried} optima count, and it needs two sizes and, where "
        "token counts differ, three optima that tell the two apart"
    )
