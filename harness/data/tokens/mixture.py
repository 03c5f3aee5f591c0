"""Windows of several sources, read side by side in shares that hold over every stretch of a run.

Each source has an order of its own, as a corpus alone has; `interleave` says whose turn it is. A window never
holds tokens of two sources. What a run reads depends on the sources and the seed alone. So models of all
sizes and batch sizes read the same text in the same order, and any step is reached without those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int32

from harness.data.tokens.interleave import Interleaving
from harness.data.tokens.windows import MAX_UNBLOCKED_SOURCE, Order, Part, Stream, batches_of, windows_of
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
        return sum(map(len, self.trained.values()))

    @cached_property
    def trained(self) -> dict[str, Stream]:
        """Tokens of the sources that are trained on, by name."""
        sources = zip(self.names, self.counts, self.streams, strict=True)
        return {name: stream for name, count, stream in sources if count}


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
        for name, stream in self.mixture.trained.items():
            if len(stream) <= self.seq_len:
                raise InputError(
                    f"data.sources.{name} has {len(stream):,} training tokens, expected at least one "
                    f"window of {self.seq_len + 1}: give more text or a smaller model.seq_len"
                )

    @cached_property
    def interleaving(self) -> Interleaving:
        """Whose turn it is."""
        return Interleaving(self.mixture.counts)

    @cached_property
    def orders(self) -> dict[str, Order]:
        """Order of the windows of each source that is trained on."""
        return {
            name: Order(len(stream), self.seq_len, 1, self._seed(name), MAX_UNBLOCKED_SOURCE)
            for name, stream in self.mixture.trained.items()
        }

    def _seed(self, name: str) -> int:
        return int(np.random.SeedSequence([self.seed, *name.encode()]).generate_state(1)[0])

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
        return batches_of(self.parts(tokens, first_step, n), n, self.seq_len)

    def parts(self, tokens: Mixture, first_step: int, n: int) -> list[Part]:
        """Return where the windows of `n` steps begin, by source; arguments as for `batches`."""
        if tokens is not self.mixture:
            raise ValueError(f"order is over {self.mixture.names}, got another mixture of {tokens.names}")
        first = first_step * self.batch_size
        turns = self.interleaving.sources(first, n * self.batch_size)
        before = self.interleaving.before(first).tolist()
        counts = np.bincount(turns, minlength=len(before)).tolist()
        read = [source for source, count in enumerate(counts) if count]
        asked = [(self.orders[tokens.names[source]], before[source], counts[source]) for source in read]
        rows = turns.argsort(kind="stable")
        found, end = [], 0
        for source, windows in zip(read, windows_of(asked), strict=True):
            begin, end = end, end + counts[source]
            found.append(Part(tokens.streams[source], rows[begin:end], windows * self.seq_len))
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

    def _read(self, n_tokens: int) -> list[tuple[str, Order, int]]:
        """Return name, order and windows read of each source that is trained on."""
        windows = self.interleaving.before(n_tokens // self.seq_len).tolist()
        read = dict(zip(self.mixture.names, windows, strict=True))
        return [(name, order, read[name]) for name, order in self.orders.items()]
