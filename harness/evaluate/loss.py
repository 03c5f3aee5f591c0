"""Loss on the fixed evaluation set: nats per token with its standard error, and bits per byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.engine.distributed import place
from harness.engine.mesh import batch_sharding
from harness.engine.step import Engine
from harness.evaluate.eval_set import EvalSet, SourceWindows

# Neighbouring windows share documents, so their losses are correlated: the standard error is taken over means
# of blocks of this many windows.
BLOCK_WINDOWS = 16
# Parts of the evaluation set whose losses are stored, to tell how much of its error end points do not share.
N_BLOCKS = 32


@dataclass(frozen=True)
class SourceLoss:
    """Loss on the held-out text of one source of a mixture.

    Attributes:
        source: name of the source.
        loss: mean over its targets, nats per token.
        loss_sem: its standard error over blocks of text; None with fewer than two blocks.
        bits_per_byte: bits over the bytes of its targets; None if the bytes are unknown.
        n_windows: windows that were scored.
    """

    source: str
    loss: float
    loss_sem: float | None
    bits_per_byte: float | None
    n_windows: int


@dataclass(frozen=True)
class EvalResult:
    """Loss on an evaluation set.

    Attributes:
        loss: mean over all targets, nats per token.
        loss_sem: its standard error over blocks of text; None with fewer than two blocks.
        bits_per_byte: total loss in bits over the bytes of the targets, comparable between tokenizers; None
            if the bytes are unknown.
        loss_blocks: mean loss of N_BLOCKS parts of the set, see `block_losses`.
        sources: loss on each source of a mixture, those that are only scored too.
    """

    loss: float
    loss_sem: float | None
    bits_per_byte: float | None
    loss_blocks: tuple[float, ...]
    sources: tuple[SourceLoss, ...] = ()


def block_sem(window_losses: np.ndarray) -> float | None:
    """Return the standard error of the mean loss over blocks of BLOCK_WINDOWS neighbouring windows.

    Windows after the last whole block are left out. With fewer than two blocks the result is None.
    """
    n_blocks = len(window_losses) // BLOCK_WINDOWS
    if n_blocks < 2:
        return None
    blocks = window_losses[: n_blocks * BLOCK_WINDOWS].reshape(n_blocks, BLOCK_WINDOWS).mean(axis=1)
    return float(blocks.std(ddof=1) / math.sqrt(n_blocks))


def block_losses(window_losses: np.ndarray) -> tuple[float, ...]:
    """Return the mean loss of every N_BLOCKS-th window, from each of the first N_BLOCKS windows on.

    Windows are spread evenly over the evaluation split, and so are those of each block: blocks differ as
    evaluation sets of their size would. If the windows cannot be divided evenly, the first blocks have one
    more. A set of fewer windows has one block a window.

    References: Wolter 2007, Introduction to Variance Estimation, chapter 2, interpenetrating samples.
    """
    n_blocks = min(N_BLOCKS, len(window_losses))
    return tuple(float(window_losses[first::n_blocks].mean()) for first in range(n_blocks))


def window_losses(engine: Engine, params: Any, windows: np.ndarray) -> np.ndarray:
    """Return the mean loss of each window in nats per token, fp64 [windows].

    Args:
        windows: tokens [windows, seq_len + 1].

    All calls have one shape, so evaluation sets of any size share one compiled program. Repeated windows fill
    up the last call, and their losses are dropped.
    """
    n_windows, width = windows.shape
    shape = (engine.eval_call, engine.eval_batch, width)
    n_calls = -(-n_windows // (engine.eval_call * engine.eval_batch))
    calls = np.resize(windows, (n_calls, *shape))
    sharding = batch_sharding(engine.mesh, 1, 3)
    losses = [engine.window_losses(params, place(call, sharding)) for call in calls]
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in losses])[:n_windows]


def evaluate(engine: Engine, params: Any, eval_set: EvalSet) -> EvalResult:
    """Score every window of the evaluation set once; the host averages the window losses in fp64."""
    losses = window_losses(engine, params, eval_set.windows)
    if eval_set.parts:
        return _mixed(losses, eval_set.parts, eval_set.windows.shape[1] - 1)
    loss = float(losses.mean())
    bits = _bits_per_byte(loss, eval_set.n_tokens, eval_set.n_bytes)
    return EvalResult(loss, block_sem(losses), bits, block_losses(losses))


def _mixed(losses: np.ndarray, parts: tuple[SourceWindows, ...], seq_len: int) -> EvalResult:
    """Return the loss of a mixture: the mean over its sources by their weights.

    References: Cochran 1977, Sampling Techniques, section 5.3 (mean of strata and its standard error).
    """
    own = [losses[part.first : part.last] for part in parts]
    sources = tuple(_of_source(part, found, seq_len) for part, found in zip(parts, own, strict=True))
    trained = [index for index, part in enumerate(parts) if part.weight]
    weights = np.array([parts[index].weight for index in trained])
    loss = float(weights @ [sources[index].loss for index in trained])
    sems = [sources[index].loss_sem for index in trained]
    sizes = [parts[index].n_bytes for index in trained]
    bits = None
    if None not in sizes:
        tokens = np.array([len(own[index]) * seq_len for index in trained])
        # Bytes of a token of the mixture.
        bits = _bits_per_byte(loss, 1, float(weights @ (np.array(sizes, float) / tokens)))
    n_blocks = min(N_BLOCKS, *(len(own[index]) for index in trained))
    blocks = [
        float(weights @ [own[index][first::n_blocks].mean() for index in trained])
        for first in range(n_blocks)
    ]
    sem = None if None in sems else float(np.linalg.norm(weights * np.array(sems, float)))
    return EvalResult(loss, sem, bits, tuple(blocks), sources)


def _of_source(part: SourceWindows, losses: np.ndarray, seq_len: int) -> SourceLoss:
    """Return the loss on one source, from the losses [windows] of its windows."""
    loss = float(losses.mean())
    bits = _bits_per_byte(loss, len(losses) * seq_len, part.n_bytes)
    return SourceLoss(part.source, loss, block_sem(losses), bits, len(losses))


def _bits_per_byte(loss: float, n_tokens: int, n_bytes: int | float | None) -> float | None:
    """Return the loss in bits over the bytes of its targets; None if these are unknown."""
    if n_bytes is None:
        return None
    # Separators have no bytes: a set of separators alone must not divide by zero.
    return loss * n_tokens / (math.log(2) * (n_bytes if n_bytes > 0 else 1))
