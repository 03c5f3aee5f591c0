"""The fixed windows that every run of a sweep is scored on, and which of them belong to which source."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.data.corpus import Corpus
from harness.data.tokens.windows import eval_windows

# A source of a mixture is scored on at least 1/LEAST of an equal part, whatever its weight.
LEAST = 4


@dataclass(frozen=True)
class SourceWindows:
    """Windows of one source of a mixture.

    Attributes:
        source: name of the source.
        weight: share of the training tokens; 0 for a source that is only scored.
        first: its first window.
        last: the window behind its last one.
        n_bytes: bytes of text that its targets stand for; None if the tokenizer is unknown.
    """

    source: str
    weight: float
    first: int
    last: int
    n_bytes: int | None


@dataclass(frozen=True)
class EvalSet:
    """Evaluation windows and the size of their targets in bytes.

    Attributes:
        windows: tokens [windows, seq_len + 1], inputs and one more target.
        n_bytes: bytes of text that all targets stand for; None if the tokenizer is unknown.
        parts: windows of each source of a mixture.
    """

    windows: np.ndarray
    n_bytes: int | None
    parts: tuple[SourceWindows, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Number of targets: every token of a window except the first."""
        n_windows, width = self.windows.shape
        return n_windows * (width - 1)

    @classmethod
    def build(cls, windows: np.ndarray, token_bytes: np.ndarray | None) -> EvalSet:
        """Count the bytes of the targets; `token_bytes` [vocab] has the bytes of each token, if known."""
        return cls(windows, _n_bytes(windows, token_bytes))


def eval_set(corpus: Corpus, seq_len: int, n_tokens: int) -> EvalSet:
    """Return the evaluation set of a corpus.

    A source of a mixture has its share of the windows, but at least 1/LEAST of an equal part, as far as its
    held-out text reaches. The loss of the mixture weighs the sources, so it does not depend on their windows.

    Args:
        corpus: the corpus.
        seq_len: inputs per window.
        n_tokens: targets to score.

    Raises:
        InputError: the evaluation split is too small.
    """
    if not corpus.parts:
        return EvalSet.build(eval_windows(corpus.eval, seq_len, n_tokens), corpus.token_bytes)
    chosen: list[np.ndarray] = []
    parts: list[SourceWindows] = []
    first = 0
    for each in corpus.parts:
        wanted = math.ceil(n_tokens / seq_len * max(each.weight, 1 / (LEAST * len(corpus.parts))))
        here = (len(each.eval) - 1) // seq_len
        windows = eval_windows(each.eval, seq_len, min(wanted, here) * seq_len)
        last = first + len(windows)
        parts.append(
            SourceWindows(each.name, each.weight, first, last, _n_bytes(windows, corpus.token_bytes))
        )
        chosen.append(windows)
        first = last
    windows = np.concatenate(chosen)
    return EvalSet(windows, _n_bytes(windows, corpus.token_bytes), tuple(parts))


def _n_bytes(windows: np.ndarray, token_bytes: np.ndarray | None) -> int | None:
    """Return the bytes of the targets of windows."""
    return None if token_bytes is None else int(token_bytes[windows[:, 1:]].sum())
