"""Loss on the fixed evaluation set: nats per token with its standard error, and bits per byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.engine.distributed import place
from harness.engine.mesh import batch_sharding
from harness.engine.step import Engine

# Consecutive windows share documents, so the standard error is taken over blocks of this many windows.
BLOCK_WINDOWS = 16


@dataclass(frozen=True)
class EvalSet:
    """Windows [windows, seq+1] and the bytes that their labels stand for."""

    windows: np.ndarray
    n_bytes: int

    @property
    def n_tokens(self) -> int:
        n_windows, width = self.windows.shape
        return n_windows * (width - 1)

    @classmethod
    def build(cls, windows: np.ndarray, token_bytes: np.ndarray) -> EvalSet:
        return cls(windows, int(token_bytes[windows[:, 1:]].sum()))


@dataclass(frozen=True)
class EvalResult:
    """Mean loss in nats per token, its standard error over blocks of text, and bits per byte."""

    loss: float
    loss_sem: float | None
    bits_per_byte: float


def block_sem(window_losses: np.ndarray) -> float | None:
    """Standard error of the mean over consecutive blocks of windows; None with fewer than two."""
    n_blocks = len(window_losses) // BLOCK_WINDOWS
    if n_blocks < 2:
        return None
    blocks = window_losses[: n_blocks * BLOCK_WINDOWS].reshape(n_blocks, BLOCK_WINDOWS).mean(axis=1)
    return float(blocks.std(ddof=1) / math.sqrt(n_blocks))


def window_losses(engine: Engine, params: Any, windows: np.ndarray) -> np.ndarray:
    """Mean loss of each window [windows, seq+1], in batches that the devices share evenly.

    Every call scores the same number of windows, the last one is filled up with windows whose losses are
    dropped again.
    """
    n_windows, width = windows.shape
    shape = (engine.eval_call, engine.eval_batch, width)
    n_calls = -(-n_windows // (engine.eval_call * engine.eval_batch))
    calls = np.resize(windows, (n_calls, *shape))
    sharding = batch_sharding(engine.mesh, 1, 3)
    losses = [engine.window_losses(params, place(call, sharding)) for call in calls]
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in losses])[:n_windows]


def evaluate(engine: Engine, params: Any, eval_set: EvalSet) -> EvalResult:
    """Score every window once; sums in fp64 on the host."""
    losses = window_losses(engine, params, eval_set.windows)
    loss = float(losses.mean())
    bits = loss * eval_set.n_tokens / (math.log(2) * max(1, eval_set.n_bytes))
    return EvalResult(loss, block_sem(losses), bits)
