"""Stretches of many files as one stream of tokens: windows are read where they lie, nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import numpy as np
from jaxtyping import Int32, Int64

from harness.data.tokens.shards import Mapped, Shard
from harness.records.errors import InputError


@dataclass(frozen=True)
class TokenStream:
    """Tokens of some stretches of some shards, one stretch behind the other.

    Attributes:
        shards: the files.
        stretches: shard, first token and end of each stretch [stretches, 3].
        vocab_size: number of token ids; a larger id is an error.
    """

    shards: tuple[Shard, ...]
    stretches: Int64[np.ndarray, "stretches 3"]
    vocab_size: int

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @cached_property
    def _ends(self) -> Int64[np.ndarray, "stretches"]:
        """Position in the stream after the last token of each stretch."""
        return np.cumsum(self.stretches[:, 2] - self.stretches[:, 1])

    @cached_property
    def _maps(self) -> dict[int, Mapped]:
        return {}

    def _mapped(self, shard: int) -> Mapped:
        """Return a shard, mapped when it is first read: a corpus may have many files."""
        if shard not in self._maps:
            self._maps[shard] = self.shards[shard].open()
        return self._maps[shard]

    def prefetch(self, starts: Int64[np.ndarray, "n"], width: int) -> None:
        """Ask the system for the windows from each start on, which will be read soon."""
        _, shard, at, high = self._places(starts)
        # Of a window over several stretches its beginning is enough: there are few.
        n = np.minimum(width, high - at)
        for each, first, size in zip(shard.tolist(), at.tolist(), n.tolist(), strict=True):
            self._mapped(each).prefetch(first, size)

    def windows(self, starts: Int64[np.ndarray, "*starts"], width: int) -> Int32[np.ndarray, "*starts width"]:
        """Return the tokens [*starts, width] from each start on.

        Raises:
            InputError: an id is no id of the vocabulary; the sentence names the file and the place.
        """
        stretch, shard, at, high = self._places(starts.ravel())
        found = np.empty((len(at), width), self._unsigned)
        inside = (at + width <= high).tolist()
        # A corpus has many files, so a loop over windows is as good as one over files.
        for row, (each, first) in enumerate(zip(shard.tolist(), at.tolist(), strict=True)):
            if inside[row]:
                found[row] = self._mapped(each).tokens[first : first + width]
            else:
                found[row] = self._across(int(stretch[row]), first, width)
        wrong = found >= self.vocab_size
        if wrong.any():
            self._refuse(starts.ravel()[:, None] + np.arange(width), wrong)
        narrow = found.astype(np.uint32, copy=False)
        return narrow.view(np.int32).reshape(*starts.shape, width)

    @cached_property
    def _unsigned(self) -> type[np.unsignedinteger]:
        """Type in which an id is itself, and a negative one is beyond any vocabulary."""
        wide = any(np.dtype(shard.dtype).itemsize > 4 for shard in self.shards)
        return np.uint64 if wide else np.uint32

    def _places(self, starts: Int64[np.ndarray, "n"]) -> tuple[Int64[np.ndarray, "n"], ...]:
        """Return stretch, shard, place in the shard and end of the stretch of tokens of the stream."""
        stretch = np.searchsorted(self._ends, starts, "right")
        shard, _, high = self.stretches[stretch].T
        return stretch, shard, high - self._ends[stretch] + starts, high

    def _across(self, stretch: int, at: int, width: int) -> np.ndarray:
        """Return a window [width] from token `at` of a stretch's shard on, over the next stretches."""
        pieces: list[tuple[int, int, int]] = []
        left = width
        while left:
            shard, low, high = self.stretches[stretch].tolist()
            first = low if pieces else at
            pieces.append((shard, first, min(first + left, high)))
            left, stretch = left - (pieces[-1][2] - first), stretch + 1
        # All before the first is read: a window over many stretches is an evaluation split.
        for shard, first, end in pieces:
            self._mapped(shard).prefetch(first, end - first)
        parts = [self._mapped(shard).tokens[first:end] for shard, first, end in pieces]
        return np.concatenate(parts)

    def _refuse(self, positions: np.ndarray, wrong: np.ndarray) -> NoReturn:
        """Raise InputError for the first id beyond the vocabulary."""
        _, number, at, _ = (int(each[0]) for each in self._places(positions[wrong][:1]))
        shard = self.shards[number]
        how = "type that of its tokenizer"
        if self.vocab_size > 2**16 and np.dtype(shard.dtype).itemsize == 4:
            how += ", or write its tokens with 32 bits, which such a vocabulary needs, if they have 16"
        raise InputError(
            f"{shard.path} has the id {self._mapped(number).tokens[at]} at token {at:,}, expected ids below "
            f"data.vocab_size={self.vocab_size}; {how}"
        )

    def sample(self, n_tokens: int, width: int = 4096) -> Int32[np.ndarray, "windows width"]:
        """Return windows [windows, width] of about `n_tokens` together, spread evenly over the stream."""
        width = min(width, len(self))
        n = max(1, min(n_tokens, len(self)) // max(width, 1))
        starts = np.linspace(0, len(self) - width, n).round().astype(np.int64)
        self.prefetch(starts, width)
        return self.windows(starts, width)


def whole(shards: Sequence[Shard]) -> Int64[np.ndarray, "stretches 3"]:
    """Return one stretch for each shard that has tokens."""
    return np.array([[i, 0, s.n_tokens] for i, s in enumerate(shards) if s.n_tokens], np.int64).reshape(-1, 3)


def joined(streams: Sequence[TokenStream]) -> TokenStream:
    """Return streams of one vocabulary or several, one behind the other."""
    shards = tuple(shard for stream in streams for shard in stream.shards)
    first = np.cumsum([0, *(len(stream.shards) for stream in streams)])
    stretches = [
        stream.stretches + np.array([before, 0, 0])
        for stream, before in zip(streams, first[:-1], strict=True)
    ]
    return TokenStream(shards, np.concatenate(stretches), max(stream.vocab_size for stream in streams))
