"""The order in which a run reads its corpus or mixture, and the windows of its steps, a few steps ahead."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Int32

from harness.data.tokens.mixture import Mixture, MixtureOrder
from harness.data.tokens.stream import TokenStream
from harness.data.tokens.windows import Order, Part, Stream, batches_of

AnyOrder: TypeAlias = Order | MixtureOrder


def order_of(tokens: Stream | Mixture, seq_len: int, batch_size: int, seed: int) -> AnyOrder:
    """Return the order in which a run reads the windows of a corpus or a mixture."""
    if isinstance(tokens, Mixture):
        return MixtureOrder(tokens, seq_len, batch_size, seed)
    return Order(len(tokens), seq_len, batch_size, seed)


class Reader:
    """Reader of the windows of a run, some steps at a time.

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
        found = batches_of(parts, n, self.order.seq_len)
        if any(isinstance(part.stream, TokenStream) for part in parts):
            behind = first_step + n
            self._ahead = (behind, n), self._parts(behind, n)
            for part in self._ahead[1]:
                if isinstance(part.stream, TokenStream):
                    part.stream.prefetch(part.starts, self.order.seq_len + 1)
        return found

    def _parts(self, first_step: int, n: int) -> list[Part]:
        if self._ahead is not None and self._ahead[0] == (first_step, n):
            return self._ahead[1]
        # The order checks that these are the tokens it was made for.
        return self.order.parts(self.tokens, first_step, n)  # type: ignore[arg-type]
