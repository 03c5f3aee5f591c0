"""Loss on the fixed evaluation set: nats per token with its standard error, and bits per byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.engine.distributed import place
from harness.engine.mesh import batch_sharding
from harness.engine.step import Engine

# Neighbouring windows share documents, so their losses are correlated: the standard error is taken over means
# of blocks of this many windows.
BLOCK_WINDOWS = 16
# Parts of the evaluation set whose losses are stored, to tell how much of its error end points do not share.
N_BLOCKS = 32


@dataclass(frozen=True)
class EvalSet:
    """Evaluation windows and the size of their targets in bytes.

    Attributes:
        windows: tokens [windows, seq_len + 1], inputs and one more target.
        n_bytes: bytes of text that all targets stand for; None if the tokenizer is unknown.
    """

    windows: np.ndarray
    n_bytes: int | None

    @property
    def n_tokens(self) -> int:
        """Number of targets: every token of a window except the first."""
        n_windows, width = self.windows.shape
        return n_windows * (width - 1)

    @classmethod
    def build(cls, windows: np.ndarray, token_bytes: np.ndarray | None) -> EvalSet:
        """Count the bytes of the targets; `token_bytes` [vocab] has the bytes of each token, if known."""
        return cls(windows, None if token_bytes is None else int(token_bytes[windows[:, 1:]].sum()))


@dataclass(frozen=True)
class EvalResult:
    """Loss on an evaluation set.

    Attributes:
        loss: mean over all targets, nats per token.
        loss_sem: its standard error over blocks of text; None with fewer than two blocks.
        bits_per_byte: total loss in bits over the bytes of the targets, comparable between tokenizers; None
            if the bytes are unknown.
        loss_blocks: mean loss of N_BLOCKS parts of the set, see `block_losses`.
    """

    loss: float
    loss_sem: float | None
    bits_per_byte: float | None
    loss_blocks: tuple[float, ...]


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
    loss = float(losses.mean())
    bits = None
    if eval_set.n_bytes is not None:
        # Separators have no bytes: a set of separators alone must not divide by zero.
        bits = loss * eval_set.n_tokens / (math.log(2) * max(1, eval_set.n_bytes))
    return EvalResult(loss, block_sem(losses), bits, block_losses(losses))
