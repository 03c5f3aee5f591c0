"""Rules in tokens: batch by D, learning rates by batch and D, time scales of Adam and of weight decay.

Each is off by default. The reference, at which all of them have the factor 1, is a batch of
`reference_batch_tokens` and a run of `reference_tokens`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.schema import OptimSettings
from harness.recipe.schedule import is_reachable

SIZES = [2**power for power in range(24)]  # sequences of a batch by the rule
BETA2_DIGITS = 4  # of 1 - beta2


@dataclass(frozen=True)
class RunTokens:
    """Token counts of a run, on which its recipe depends.

    Attributes:
        batch_size: sequences of a batch.
        seq_len: tokens of a sequence.
        longest: D of the run; of a trunk that of its longest branch.
        tokens_per_param: `longest` over the parameters of the model.
        alone: whether the run serves `longest` alone, so that its rates may follow it.
    """

    batch_size: int
    seq_len: int
    longest: int
    tokens_per_param: float
    alone: bool

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch."""
        return self.batch_size * self.seq_len


def free_batch_size(settings: OptimSettings, n_tokens: float, seq_len: int) -> int:
    """Return the sequences of a batch for D = `n_tokens`: `batch_size`, or by the rule a power of two.

    The rule is reference_batch_tokens · (D / reference_tokens)^batch_size_tokens_exponent tokens. Powers of
    two divide evenly over meshes and micro-batches, which must not enter a recipe.

    The critical batch is the same rule with another power. Kaplan et al. wrote it as 2.1·10^8 · L^-4.8
    tokens. That form is left out: it needs a loss before the run, which would hang the recipe on a law. At
    equal D it also gives larger models larger batches, which Zhang et al. did not find. Where L falls as
    D^-0.095, as in the same work, it grows as D^0.456: nearly the power that others measured.

    References:
        Li et al., arXiv:2503.04715, equation 1: the best batch grows as D^0.571, whatever N.
        Bergsma et al., arXiv:2505.13738, figure 1: the best batch as D^0.383, the critical one as D^0.462.
        Zhang et al., arXiv:2410.21676: the critical batch follows D, and hardly N.
        Kaplan et al., arXiv:2001.08361, section 5.1 and figure 10: the critical batch from the loss.
    """
    return _nearest(settings, n_tokens, seq_len, SIZES)


def batch_size(settings: OptimSettings, n_tokens: Sequence[int], seq_len: int, log_interval: int) -> int:
    """Return the sequences of a batch with which a run can end at each of its token counts.

    Of the sizes of `free_batch_size` the nearest such size is taken, if there is any.

    Args:
        settings: optimiser settings.
        n_tokens: token counts at which the run must end; the largest sets the batch.
        seq_len: tokens of a sequence.
        log_interval: steps between the ends that a run can have.
    """
    fitting = [
        size for size in SIZES if all(is_reachable(n, size * seq_len * log_interval) for n in n_tokens)
    ]
    return _nearest(settings, max(n_tokens), seq_len, fitting or SIZES)


def _nearest(settings: OptimSettings, n_tokens: float, seq_len: int, sizes: Sequence[int]) -> int:
    if not settings.batch_size_tokens_exponent:
        return settings.batch_size
    growth = (n_tokens / settings.reference_tokens) ** settings.batch_size_tokens_exponent
    wanted = settings.reference_batch_tokens * growth / seq_len
    # Rounded, so that of two sizes as near the smaller is taken on every machine.
    return min(sizes, key=lambda size: (round(abs(math.log(size / wanted)), 9), size))


def rate_factor(settings: OptimSettings, group: str, run: RunTokens) -> float:
    """Return the factor of batch and D on the learning rate of a parameter group.

    The power of D holds for a run that serves one D alone: a trunk has one rate for all its token counts.

    References:
        Square root of the batch: Malladi et al., arXiv:2205.10287.
        Power of D: Bjorck et al., arXiv:2409.19913, section 4, with the exponent -0.32.
    """
    factor = (run.batch_tokens / settings.reference_batch_tokens) ** settings.lr_batch_exponent[group]
    if run.alone:
        factor *= (run.longest / settings.reference_tokens) ** settings.lr_tokens_exponent[group]
    return float(factor)


def beta2(settings: OptimSettings, run: RunTokens) -> float:
    """Return Adam's beta2: the setting, or the one with a half-life of so many tokens.

    1 - beta2 is rounded to four digits, because more say nothing.

    References:
        Marek et al., arXiv:2507.07101.

    >>> from harness.config.settings import load
    >>> optim = load(["+grid=smoke", "optim.beta2_half_life=35312"]).optim
    >>> beta2(optim, RunTokens(4, 128, 10**6, tokens_per_param=20.0, alone=False))
    0.99
    """
    if settings.beta2_half_life is None:
        return settings.beta2
    forgotten = -math.expm1(-math.log(2) * run.batch_tokens / settings.beta2_half_life)
    return 1.0 - float(f"{forgotten:.{BETA2_DIGITS}g}")


def hidden_weight_decay(settings: OptimSettings, rate: float, run: RunTokens) -> float | None:
    """Return the weight decay of hidden matrices by its time scale: batch / (rate · timescale · D).

    Decayed weights are an average of updates over 1 / (rate · decay) steps. The time scale is these steps as
    a share of the run: decay_timescale · (D/N)^decay_timescale_exponent. A trunk takes D of its longest
    branch. Other parameter groups keep `weight_decay`.

    Args:
        settings: optimiser settings.
        rate: peak learning rate of the hidden matrices.
        run: token counts of the run.

    Returns:
        The decay; None if no time scale is set, or nothing is learned.

    References:
        Wang & Aitchison, arXiv:2405.13698: the decay from a time scale that stays.
        Bergsma et al., arXiv:2505.13738, figure 1: the best time scale is 1.084·(D/N)^-0.527.
    """
    if settings.decay_timescale is None or rate == 0:
        return None
    share = settings.decay_timescale * run.tokens_per_param**settings.decay_timescale_exponent
    return run.batch_tokens / (rate * share * run.longest)


def warmup_steps(settings: OptimSettings, smallest_n_tokens: int, batch_tokens: int) -> int:
    """Return the warm-up of a run in steps: `warmup_tokens`, or `warmup_frac` of the grid's smallest run.

    All token counts share one trunk and so one warm-up, and no cell spends a larger share of its steps on it.

    Args:
        settings: optimiser settings.
        smallest_n_tokens: smallest token count of the grid.
        batch_tokens: tokens of a step.
    """
    if settings.warmup_tokens is not None:
        return max(1, round(settings.warmup_tokens / batch_tokens))
    return max(1, round(settings.warmup_frac * (smallest_n_tokens // batch_tokens)))
