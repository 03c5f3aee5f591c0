"""Settings that follow the length of the context, unless they are given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from harness.config.schema import SweepSettings

THETA, BATCH = "model.rope_theta", "optim.batch_size"
THETA_DIGITS = 4  # so that every machine computes the same base


@dataclass(frozen=True)
class Usual:
    """A value before anything was given, and the context in tokens that it is made for."""

    value: float
    seq_len: int


def rope_theta(usual: float, ratio: float, head_dim: int) -> float:
    """Return the base of the rotary angles in a context `ratio` times as long: usual · ratio^(d/(d − 2)).

    The slowest of the d/2 pairs of channels turns by base^−((d−2)/d) a token. This base lets it turn by the
    same angle over the whole context as before; the fastest pair, which tells neighbours apart, turns as
    before too. Heads of one pair have no slower one and keep the base.

    Args:
        usual: base at the usual context.
        ratio: context over the usual context.
        head_dim: channels of a head, d.

    References:
        Peng et al., arXiv:2309.00071, section 3.1, where it is called "NTK-aware" interpolation. There it
        extends trained models; the argument is about angles alone, so it is used here from the first step.

    >>> rope_theta(200.0, 2.0, 16)
    441.6
    """
    if head_dim <= 2:
        return usual
    return float(f"{usual * ratio ** (head_dim / (head_dim - 2)):.{THETA_DIGITS}g}")


def followed(
    settings: SweepSettings, usual: Mapping[str, Usual], given: Collection[str]
) -> tuple[SweepSettings, list[str]]:
    """Return settings whose rotary angles and batch follow a context other than the usual one, with a note.

    The batch keeps its tokens, as near as whole sequences come: rates, logging intervals and token counts
    that hold for the usual context then hold for this one. A batch that follows D counts tokens anyway.

    Args:
        settings: settings as composed, in range.
        usual: values of THETA and BATCH before anything was given, and the context that each is made for.
        given: keys that the user or the grid gave, which stay.
    """
    model, optim = settings.model, settings.optim
    seq_len = model.seq_len
    moved = [key for key, each in usual.items() if key not in given and each.seq_len != seq_len]
    taken = []
    if THETA in moved:
        was = usual[THETA]
        model = replace(model, rope_theta=rope_theta(was.value, seq_len / was.seq_len, model.head_dim))
        taken.append(f"{THETA}={model.rope_theta:g} ({was.value:g} at {was.seq_len})")
    if BATCH in moved and not optim.batch_size_tokens_exponent:
        was = usual[BATCH]
        tokens = round(was.value * was.seq_len)
        optim = replace(optim, batch_size=max(1, round(tokens / seq_len)))
        now = optim.batch_size * seq_len
        before = "as" if now == tokens else f"{tokens:,}"
        taken.append(f"{BATCH}={optim.batch_size} ({now:,} tokens, {before} at {was.seq_len})")
    if not taken:
        return settings, []
    note = f"model.seq_len={seq_len} takes along {' and '.join(taken)}; what is given stays"
    return replace(settings, model=model, optim=optim), [note]
