"""Scales in which people store a loss, and their conversion to nats per token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from harness.records.errors import InputError

NATS, PERPLEXITY, BITS_PER_BYTE, BITS_PER_TOKEN = "nats", "perplexity", "bits_per_byte", "bits_per_token"
SCALES = f"{NATS}, {PERPLEXITY}, {BITS_PER_BYTE}=BYTES or {BITS_PER_TOKEN}"  # for texts

# Models of Hoffmann et al. have 44M parameters or more; below, vocabularies decide on the loss.
LEAST_N, LEAST_D = 2e7, 2e8


@dataclass(frozen=True)
class LossScale:
    """A stated scale of the loss.

    Attributes:
        name: nats, perplexity, bits_per_byte or bits_per_token.
        bytes_per_token: how many bytes of text a token holds; 1 unless the scale is bits_per_byte.
    """

    name: str
    bytes_per_token: float = 1.0

    @property
    def factor(self) -> float:
        """Nats per token of one unit, for scales that are proportional to nats."""
        return 1.0 if self.name == NATS else float(np.log(2)) * self.bytes_per_token

    def nats(self, values: Array) -> Array:
        """Return losses [rows] in nats per token."""
        return np.log(values) if self.name == PERPLEXITY else self.factor * values

    def error(self, error: Array, values: Array) -> Array:
        """Return standard errors [rows] of losses `values` [rows], both in this scale, in nats per token."""
        return error / values if self.name == PERPLEXITY else self.factor * error

    def reading(self, column: str) -> str:
        """Return how a column is read, in words."""
        if self.name == PERPLEXITY:
            return f"loss = log of {column!r}"
        if self.name == NATS:
            return f"loss = {column!r}, in nats as stated"
        per_byte = f", {self.bytes_per_token:g} bytes a token" if self.name == BITS_PER_BYTE else ""
        return f"loss = {column!r} × {self.factor:.4g} ({self.name.replace('_', ' ')}{per_byte})"

    def label(self, column: str) -> str:
        """Return what an error calls the converted column."""
        return f"log of {column}" if self.name == PERPLEXITY else column


def usual_loss(n: Array, d: Array) -> Array:
    """Return the loss of language models of N parameters on D tokens of text, nats per token.

    L = 1.69 + 406.4/N^.34 + 410.7/D^.28. In the tables of others that we know the median loss is .57 to 1.36
    times this, for code .41.

    References: Hoffmann et al. 2022, arXiv:2203.15556, equation 10.
    """
    return np.asarray(1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28)


def read_loss_scale(text: str | None) -> LossScale | None:
    """Return the scale that a text names, such as `perplexity` or `bits_per_byte=4.2`; None for None.

    Raises:
        InputError: no such scale, or bits per byte without the bytes of a token.
    """
    if text is None:
        return None
    name, _, given = (part.strip() for part in text.partition("="))
    if name == BITS_PER_BYTE:
        return LossScale(name, _bytes(given))
    if name not in (NATS, PERPLEXITY, BITS_PER_TOKEN) or given:
        raise InputError(f"there is no scale {text!r} of the loss: type one of {SCALES}", "loss_is")
    return LossScale(name)


def _bytes(given: str) -> float:
    try:
        found = float(given)
    except ValueError:
        found = np.nan
    if not 0 < found < np.inf:
        got = repr(given) if given else "none"
        raise InputError(
            f"bits per byte need the mean bytes of a token, got {got}: type {BITS_PER_BYTE}=4.2 if a token "
            "holds 4.2 bytes of text",
            "loss_is",
        )
    return found
