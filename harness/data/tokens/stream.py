"""Stretches of many files as one stream of tokens: windows are read where they lie, nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int32, Int64

from harness.data.tokens.shards import Shard
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
    def _maps(self) -> dict[int, np.ndarray]:
        return {}

    def _mapped(self, shard: int) -> np.ndarray:
        """Return the tokens of a shard, mapped when they are first read: a corpus may have many files."""
        if shard not in self._maps:
            self._maps[shard] = self.shards[shard].map()
        return self._maps[shard]

    def windows(self, starts: Int64[np.ndarray, "*starts"], width: int) -> Int32[np.ndarray, "*starts width"]:
        """Return the tokens [*starts, width] from each start on.

        Raises:
            InputError: an id is no id of the vocabulary; the sentence names the file and the place.
        """
        flat = starts.ravel()
        found = np.empty((len(flat), width), np.int32)
        stretch = np.searchsorted(self._ends, flat, "right")
        shard, _, high = self.stretches[stretch].T
        at = high - self._ends[stretch] + flat
        inside = at + width <= high
        # One gather a file: nearly all windows lie in one stretch.
        for each in np.unique(shard[inside]):
            rows = inside & (shard == each)
            places = at[rows, None] + np.arange(width)
            found[rows] = self._checked(self._mapped(each)[places], each, places)
        for row in np.flatnonzero(~inside):
            found[row] = self._across(int(stretch[row]), int(at[row]), width)
        return found.reshape(*starts.shape, width)

    def _across(self, stretch: int, at: int, width: int) -> Int32[np.ndarray, "width"]:
        """Return a window from token `at` of a stretch's shard on that goes on in the next stretches."""
        parts: list[np.ndarray] = []
        left = width
        while left:
            shard, low, high = self.stretches[stretch].tolist()
            first = low if parts else at
            places = np.arange(first, min(first + left, high))
            parts.append(self._checked(self._mapped(shard)[places], shard, places))
            left, stretch = left - len(places), stretch + 1
        return np.concatenate(parts).astype(np.int32)

    def _checked(self, tokens: np.ndarray, shard: int, places: np.ndarray) -> np.ndarray:
        """Return tokens at `places` of a shard; raise InputError for an id beyond the vocabulary."""
        wrong = (tokens < 0) | (tokens >= self.vocab_size)
        if wrong.any():
            raise InputError(
                f"{self.shards[shard].path} has the id {tokens[wrong][0]} at token {places[wrong][0]:,}, "
                f"expected ids below data.vocab_size={self.vocab_size}; type that of its tokenizer"
            )
        return tokens

    def sample(self, n_tokens: int, width: int = 4096) -> Int32[np.ndarray, "windows width"]:
        """Return windows [windows, width] of about `n_tokens` together, spread evenly over the stream."""
        width = min(width, len(self))
        n = max(1, min(n_tokens, len(self)) // max(width, 1))
        return self.windows(np.linspace(0, len(self) - width, n).round().astype(np.int64), width)


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
