"""Windows of the token stream: the order in which training reads them, and the fixed evaluation windows.

A window holds `seq_len` inputs and one more token, the last target. Windows lie side by side over the
concatenated documents. Neighbours overlap by one token, because a window's last target is the next window's
first input. So every token but the first is a target once per epoch; a rest shorter than a window is never
read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int32, Int64

from harness.data.tokens.blocks import n_in_blocks, windows_at
from harness.data.tokens.stream import TokenStream
from harness.data.tokens.van_der_corput import Epoch, van_der_corput
from harness.records.errors import InputError

Stream: TypeAlias = "np.ndarray | TokenStream"
# An epoch of more windows is cut into blocks. What stored runs read depends on both numbers.
MAX_UNBLOCKED = 2**22  # of a corpus alone
MAX_UNBLOCKED_SOURCE = 2**19  # of a source of a mixture


class Part(NamedTuple):
    """Windows of one stream among those of some steps.

    Attributes:
        stream: the tokens.
        rows: places among the windows of the steps.
        starts: first token of each window.
    """

    stream: Stream
    rows: Int64[np.ndarray, "windows"]
    starts: Int64[np.ndarray, "windows"]


@dataclass(frozen=True)
class Order:
    """Order of the training windows: a fresh seeded permutation for every epoch, spread over the corpus.

    The order depends on the corpus, `seq_len` and `seed` alone. So models of all sizes, and runs of all batch
    sizes, read the same text in the same order. Any step can be reached without the steps before it, so a
    resumed run need not read them again.

    Attributes:
        n_train_tokens: tokens of the training split.
        seq_len: inputs per window.
        batch_size: windows per step.
        seed: seed of the permutations.
        max_unblocked: windows of the longest epoch that is not cut into blocks, at most MAX_UNBLOCKED.

    Raises:
        InputError: the corpus is shorter than one window.

    >>> order = Order(n_train_tokens=9, seq_len=2, batch_size=2, seed=0)
    >>> order.n_windows
    4
    >>> order.batches(np.arange(9), first_step=0, n=2)  # every window once: an epoch of two steps
    array([[[6, 7, 8],
            [2, 3, 4]],
    <BLANKLINE>
           [[4, 5, 6],
            [0, 1, 2]]], dtype=int32)
    """

    n_train_tokens: int
    seq_len: int
    batch_size: int
    seed: int
    max_unblocked: int = MAX_UNBLOCKED

    def __post_init__(self) -> None:
        if self.n_windows < 1:
            raise InputError(
                f"the corpus has {self.n_train_tokens} training tokens, a window of seq_len={self.seq_len} "
                f"needs {self.seq_len + 1}: give more text or a smaller seq_len"
            )

    @cached_property
    def n_windows(self) -> int:
        """Number of windows in one epoch."""
        n = (self.n_train_tokens - 1) // self.seq_len
        return n_in_blocks(n) if n > self.max_unblocked else n

    @cached_property
    def in_blocks(self) -> bool:
        """Whether an epoch is cut into blocks."""
        return self.n_windows > self.max_unblocked

    def epochs(self, n_tokens: int) -> float:
        """Return how many epochs a run of `n_tokens` takes."""
        return n_tokens / (self.n_windows * self.seq_len)

    def unique_tokens(self, n_tokens: int) -> int:
        """Return the number of distinct tokens among the first `n_tokens` that a run reads.

        References: U_D of Muennighoff et al., arXiv:2305.16264, section 3.1.
        """
        return min(n_tokens, self.n_windows * self.seq_len)

    def batch(self, tokens: Stream, step: int) -> Int32[np.ndarray, "batch window"]:
        """Return the windows of one step."""
        return self.batches(tokens, step, 1)[0]

    def batches(self, tokens: Stream, first_step: int, n: int) -> Int32[np.ndarray, "steps batch window"]:
        """Return the windows of `n` steps from `first_step` on; a batch may end one epoch and begin the next.

        Args:
            tokens: the training split [n_train_tokens].
            first_step: number of the first step, from 0.
            n: number of steps.

        Raises:
            ValueError: `tokens` has another length than this order was made for.
        """
        return batches_of(self.parts(tokens, first_step, n), n, self.seq_len)

    def parts(self, tokens: Stream, first_step: int, n: int) -> list[Part]:
        """Return where the windows of `n` steps from `first_step` on begin; arguments as for `batches`."""
        if len(tokens) != self.n_train_tokens:
            raise ValueError(f"order is over {self.n_train_tokens} tokens, got {len(tokens)}")
        size = n * self.batch_size
        windows = self.windows(first_step * self.batch_size, size)
        return [Part(tokens, np.arange(size), windows * self.seq_len)]

    def windows(self, first: int, n: int) -> Int64[np.ndarray, "windows"]:
        """Return the windows that a run reads at positions `first` to `first + n` − 1, across epochs."""
        return windows_of([(self, first, n)])[0]

    def by_epoch(self, first: int, n: int) -> Iterator[tuple[Epoch, int, int]]:
        """Yield epoch, first position and number of the windows that lie in each epoch."""
        position = first
        while position < first + n:
            number, offset = divmod(position, self.n_windows)
            part = min(first + n - position, self.n_windows - offset)
            yield Epoch(self.n_windows, self.seed, number), offset, part
            position += part


def windows_of(asked: Sequence[tuple[Order, int, int]]) -> list[Int64[np.ndarray, "windows"]]:
    """Return the windows of several orders, each from a position on.

    Args:
        asked: orders, the first position in each, and the number of windows.
    """
    found = [np.zeros(0, np.int64)] * len(asked)
    for in_blocks, read in ((False, _unblocked), (True, _blocked)):
        chosen = [i for i, (order, _, n) in enumerate(asked) if n and order.in_blocks == in_blocks]
        if not chosen:
            continue
        windows = read([each for i in chosen for each in asked[i][0].by_epoch(*asked[i][1:])])
        end = 0
        for i in chosen:
            begin, end = end, end + asked[i][2]
            found[i] = windows[begin:end]
    return found


def _unblocked(asked: list[tuple[Epoch, int, int]]) -> Int64[np.ndarray, "windows"]:
    """Return windows of epochs that are not cut into blocks: of each, `n` from a first position on."""
    epochs, first, n = zip(*asked, strict=True)
    return van_der_corput(epochs).windows(first, n)


def _blocked(asked: list[tuple[Epoch, int, int]]) -> Int64[np.ndarray, "windows"]:
    """Return windows of epochs in blocks: of each, `n` from a first position on."""
    rows = np.array([(*epoch, first, n) for epoch, first, n in asked], np.int64)
    n = rows[:, -1]
    n_windows, seed, number, first, _ = rows.repeat(n, axis=0).T
    position = first + np.arange(len(first)) - (n.cumsum() - n).repeat(n)
    return windows_at(position, n_windows, seed, number)


def batches_of(parts: Sequence[Part], n: int, seq_len: int) -> Int32[np.ndarray, "steps batch window"]:
    """Return the windows of `n` steps from their parts."""
    found = np.empty((sum(len(part.rows) for part in parts), seq_len + 1), np.int32)
    for part in parts:
        found[part.rows] = gather(part.stream, part.starts, seq_len)
    return found.reshape(n, -1, seq_len + 1)


def eval_windows(tokens: Stream, seq_len: int, n_tokens: int) -> Int32[np.ndarray, "windows window"]:
    """Return the fixed evaluation windows, with `n_tokens` targets rounded down to whole windows.

    They are spread evenly over the evaluation split, so that fewer of them still sample all of it. They stay
    in the order of the text. Neighbouring windows share documents, so means over neighbours are closer to
    independent than single windows are, as a standard error needs.

    Args:
        tokens: the evaluation split [n].
        seq_len: inputs per window.
        n_tokens: targets to score.

    Raises:
        InputError: `n_tokens` is less than one window, or more than the split holds.

    >>> eval_windows(np.arange(9), seq_len=2, n_tokens=4)
    array([[0, 1, 2],
           [4, 5, 6]], dtype=int32)
    """
    available = (len(tokens) - 1) // seq_len
    chosen = n_tokens // seq_len
    if not 0 < chosen <= available:
        raise InputError(
            f"cannot score n_tokens={n_tokens} in windows of {seq_len}: expected {seq_len} to "
            f"{available * seq_len}, the size of the evaluation split; "
            "change data.eval_tokens or give more text"
        )
    return gather(tokens, np.arange(chosen) * available // chosen * seq_len, seq_len)


def gather(tokens: Stream, starts: np.ndarray, seq_len: int) -> Int32[np.ndarray, "*starts window"]:
    """Return the windows [*starts, seq_len + 1] that begin at the tokens `starts`."""
    if isinstance(tokens, TokenStream):
        return tokens.windows(starts, seq_len + 1)
    # Files hold 16-bit or 32-bit unsigned ids, compiled programs take int32.
    return tokens[starts[..., None] + np.arange(seq_len + 1)].astype(np.int32)
