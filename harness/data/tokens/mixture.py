"""Windows of several sources, read side by side in shares that hold over every stretch of a run.

Each source has an order of its own, as a corpus alone has; `interleave` says whose turn it is. A window never
holds tokens of two sources. What a run reads depends on the sources and the seed alone. So models of all
sizes and batch sizes read the same text in the same order, and any step is reached without those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int32, Int64

from harness.data.tokens.interleave import Interleaving
from harness.data.tokens.stream import TokenStream
from harness.data.tokens.windows import SHORT, Order, Stream, gather, windows_of
from harness.records.errors import InputError


@dataclass(frozen=True)
class Mixture:
    """Training tokens of several sources.

    Attributes:
        names: name of each source.
        counts: windows of each source in one period, see `Interleaving`; 0 for a source that is only scored.
        streams: tokens of each source.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    streams: tuple[Stream, ...]

    def __len__(self) -> int:
        """Return the tokens of the sources that are trained on."""
        return sum(len(each) for each, count in zip(self.streams, self.counts, strict=True) if count)


class Part(NamedTuple):
    """Windows of one source among those of some steps.

    Attributes:
        stream: tokens of the source.
        rows: places among the windows of the steps.
        starts: first token of each window.
    """

    stream: Stream
    rows: Int64[np.ndarray, "windows"]
    starts: Int64[np.ndarray, "windows"]


@dataclass(frozen=True)
class MixtureOrder:
    """Order in which a run reads the windows of a mixture.

    Attributes:
        mixture: the sources.
        seq_len: inputs per window.
        batch_size: windows per step.
        seed: seed of the permutations; each source has its own, which other sources do not change.

    Raises:
        InputError: a source is shorter than one window.

    >>> mixture = Mixture(("a", "b"), (2, 1), (np.arange(9), np.arange(100, 109)))
    >>> MixtureOrder(mixture, seq_len=2, batch_size=3, seed=0).batch(mixture, 0)[:, 0]
    array([  4, 102,   2], dtype=int32)
    """

    mixture: Mixture
    seq_len: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        for name, count, stream in zip(
            self.mixture.names, self.mixture.counts, self.mixture.streams, strict=True
        ):
            if count and len(stream) <= self.seq_len:
                raise InputError(
                    f"data.sources.{name} has {len(stream):,} training tokens, expected at least one "
                    f"window of {self.seq_len + 1}: give more text or a smaller model.seq_len"
                )

    @cached_property
    def interleaving(self) -> Interleaving:
        """Whose turn it is."""
        return Interleaving(self.mixture.counts)

    @cached_property
    def orders(self) -> tuple[Order | None, ...]:
        """Order of the windows of each source; None for a source that is only scored."""
        found: list[Order | None] = []
        for name, count, stream in zip(
            self.mixture.names, self.mixture.counts, self.mixture.streams, strict=True
        ):
            seed = int(np.random.SeedSequence([self.seed, *name.encode()]).generate_state(1)[0])
            found.append(Order(len(stream), self.seq_len, 1, seed, SHORT) if count else None)
        return tuple(found)

    def batch(self, tokens: Mixture, step: int) -> Int32[np.ndarray, "batch window"]:
        """Return the windows of one step."""
        return self.batches(tokens, step, 1)[0]

    def batches(self, tokens: Mixture, first_step: int, n: int) -> Int32[np.ndarray, "steps batch window"]:
        """Return the windows of `n` steps from `first_step` on.

        Args:
            tokens: the mixture that this order was made for.
            first_step: number of the first step, from 0.
            n: number of steps.

        Raises:
            ValueError: `tokens` is another mixture.
        """
        if tokens is not self.mixture:
            raise ValueError(f"order is over {self.mixture.names}, got another mixture of {tokens.names}")
        return _gathered(self.parts(first_step, n), self.seq_len).reshape(n, self.batch_size, -1)

    def parts(self, first_step: int, n: int) -> list[Part]:
        """Return what each source gives to `n` steps from `first_step` on."""
        first = first_step * self.batch_size
        turns = self.interleaving.sources(first, n * self.batch_size)
        before = self.interleaving.before(first).tolist()
        counts = np.bincount(turns, minlength=len(before)).tolist()
        read = [source for source, count in enumerate(counts) if count]
        asked = [(self._trained(source), before[source], counts[source]) for source in read]
        rows = turns.argsort(kind="stable")
        found, end = [], 0
        for source, windows in zip(read, windows_of(asked), strict=True):
            begin, end = end, end + counts[source]
            found.append(Part(self.mixture.streams[source], rows[begin:end], windows * self.seq_len))
        return found

    def epochs(self, n_tokens: int) -> dict[str, float]:
        """Return how often a run of `n_tokens` reads each source that is trained on."""
        return {name: read / order.n_windows for name, order, read in self._read(n_tokens)}

    def unique_by_source(self, n_tokens: int) -> dict[str, int]:
        """Return the distinct tokens among the first `n_tokens` of each source that is trained on."""
        return {name: min(read, order.n_windows) * self.seq_len for name, order, read in self._read(n_tokens)}

    def unique_tokens(self, n_tokens: int) -> int:
        """Return the number of distinct tokens among the first `n_tokens` that a run reads."""
        return sum(self.unique_by_source(n_tokens).values())

    def _trained(self, source: int) -> Order:
        order = self.orders[source]
        assert order is not None
        return order

    def _read(self, n_tokens: int) -> list[tuple[str, Order, int]]:
        """Return name, order and windows read of each source that is trained on."""
        windows = self.interleaving.before(n_tokens // self.seq_len).tolist()
        return [
            (name, order, read)
            for name, order, read in zip(self.mixture.names, self.orders, windows, strict=True)
            if order is not None
        ]


AnyOrder: TypeAlias = Order | MixtureOrder


def order_of(tokens: Stream | Mixture, seq_len: int, batch_size: int, seed: int) -> AnyOrder:
    """Return the order in which a run reads the windows of a corpus or a mixture."""
    if isinstance(tokens, Mixture):
        return MixtureOrder(tokens, seq_len, batch_size, seed)
    return Order(len(tokens), seq_len, batch_size, seed)


class Reader:
    """Windows of a run, some steps at a time.

    Pages of files that are mapped from disk are asked for while the steps before them are computed.

    Args:
        order: order of the windows.
        tokens: the tokens that the order was made for.
    """

    def __init__(self, order: AnyOrder, tokens: Stream | Mixture) -> None:
        self.order, self.tokens = order, tokens
        self._ahead: tuple[tuple[int, int], list[Part]] | None = None

    def batches(self, first_step: int, n: int) -> Int32[np.ndarray, "steps batch window"]:
        """Return the windows of `n` steps from `first_step` on; the `n` steps behind them are next."""
        parts = self._parts(first_step, n)
        found = _gathered(parts, self.order.seq_len).reshape(n, self.order.batch_size, -1)
        if any(isinstance(part.stream, TokenStream) for part in parts):
            behind = first_step + n
            self._ahead = (behind, n), self._parts(behind, n)
            for part in self._ahead[1]:
                if isinstance(part.stream, TokenStream):
                    part.stream.fetch(part.starts, self.order.seq_len + 1)
        return found

    def _parts(self, first_step: int, n: int) -> list[Part]:
        if self._ahead is not None and self._ahead[0] == (first_step, n):
            return self._ahead[1]
        if isinstance(self.order, MixtureOrder):
            return self.order.parts(first_step, n)
        assert not isinstance(self.tokens, Mixture)
        size = n * self.order.batch_size
        windows = self.order.windows(first_step * self.order.batch_size, size)
        return [Part(self.tokens, np.arange(size), windows * self.order.seq_len)]


def _gathered(parts: list[Part], seq_len: int) -> Int32[np.ndarray, "windows window"]:
    found = np.empty((sum(len(part.rows) for part in parts), seq_len + 1), np.int32)
    for part in parts:
        found[part.rows] = gather(part.stream, part.starts, seq_len)
    return found
