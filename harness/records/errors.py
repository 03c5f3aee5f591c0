"""What the user gave and cannot be used."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used; the text says what was expected, what came, what to type."""
