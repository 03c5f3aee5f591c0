"""Which window of the token stream is read at which step, and which windows are scored.

A window of `seq_len` inputs is followed by one more token, the last target. Windows lie side by side over the
packed documents; neighbours share that one token, so that every token but the first is a target once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int32, Int64

from harness.records.errors import InputError


@dataclass(frozen=True)
class Order:
    """Order of the training windows: a fresh seeded permutation for every epoch, spread over the corpus.

    Window number p of a run depends on `seed` and the corpus alone, so models of all sizes, and runs of all
    batch sizes, read the same text in the same order, and any step can be reached directly.
    """

    n_train_tokens: int
    seq_len: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.n_windows < 1:
            raise InputError(
                f"The corpus has {self.n_train_tokens} training tokens, a window of seq_len={self.seq_len} "
                f"needs {self.seq_len + 1}: give more text or a smaller seq_len."
            )

    @property
    def n_windows(self) -> int:
        """Windows in one epoch."""
        return (self.n_train_tokens - 1) // self.seq_len

    def epochs(self, n_tokens: int) -> float:
        """How often a run of `n_tokens` reads the corpus."""
        return n_tokens / (self.n_windows * self.seq_len)

    def unique_tokens(self, n_tokens: int) -> int:
        """Distinct tokens among the first `n_tokens` read."""
        return min(n_tokens, self.n_windows * self.seq_len)

    def batch(self, tokens: np.ndarray, step: int) -> Int32[np.ndarray, "batch window"]:
        """Windows of one step."""
        return self.batches(tokens, step, 1)[0]

    def batches(self, tokens: np.ndarray, first_step: int, n: int) -> Int32[np.ndarray, "steps batch window"]:
        """Windows of `n` steps from `first_step` on; a batch may end one epoch and begin the next."""
        if len(tokens) != self.n_train_tokens:
            raise ValueError(f"order is over {self.n_train_tokens} tokens, got {len(tokens)}")
        starts = self._windows(first_step * self.batch_size, n * self.batch_size) * self.seq_len
        return _gather(tokens, starts.reshape(n, self.batch_size), self.seq_len)

    def _windows(self, first: int, n: int) -> Int64[np.ndarray, "windows"]:
        """Windows number `first` to `first + n` of the run."""
        parts = []
        position = first
        while position < first + n:
            epoch, offset = divmod(position, self.n_windows)
            part = _permutation(self.n_windows, self.seed, epoch)[offset : offset + first + n - position]
            parts.append(part)
            position += len(part)
        return np.concatenate(parts)


def eval_windows(tokens: np.ndarray, seq_len: int, n_tokens: int) -> Int32[np.ndarray, "windows window"]:
    """The fixed evaluation windows: `n_tokens` of them in tokens, rounded down to whole windows.

    They are spread evenly over the evaluation text, so that fewer of them still sample all of it, and stay in
    the order of the text: neighbouring windows share documents, so means of neighbours are close to
    independent clusters for a standard error where single windows are not.
    """
    available = (len(tokens) - 1) // seq_len
    chosen = n_tokens // seq_len
    if not 0 < chosen <= available:
        raise InputError(
            f"cannot score n_tokens={n_tokens} in windows of {seq_len}: expected {seq_len} to "
            f"{available * seq_len}, the size of the evaluation split; "
            "change data.eval_tokens or give more text"
        )
    return _gather(tokens, np.arange(chosen) * available // chosen * seq_len, seq_len)


def _gather(tokens: np.ndarray, starts: np.ndarray, seq_len: int) -> Int32[np.ndarray, "*starts window"]:
    return tokens[starts[..., None] + np.arange(seq_len + 1)].astype(np.int32)


@lru_cache(maxsize=2)
def _permutation(n_windows: int, seed: int, epoch: int) -> Int64[np.ndarray, "windows"]:
    """A random order of which every stretch reads all parts of the corpus about equally often.

    The van der Corput sequence in base 2 with nested random flips (Owen, 1995, "Randomly permuted
    (t,m,s)-nets", section 3): 2^k windows in a row fall one into each of 2^k equal parts of the corpus,
    so that the short runs of different seeds read the same mixture of documents.
    """
    rng = np.random.default_rng([seed, epoch])
    n_bits = int(n_windows - 1).bit_length()
    position = np.arange(1 << n_bits)
    window = np.zeros_like(position)
    for level in range(n_bits):
        flips = rng.integers(0, 2, 1 << level)
        window = window << 1 | ((position >> level & 1) ^ flips[window])
    return np.asarray(window[window < n_windows])
