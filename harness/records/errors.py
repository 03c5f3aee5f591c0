"""The exception for input that cannot be used."""

from __future__ import annotations


class InputError(ValueError):
    """Input of the user that cannot be used; the text says what was expected, what came and what to type."""
