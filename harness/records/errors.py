"""What the user gave and cannot be used."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the text says what was expected, what came, and what to type.

    The text begins with a small letter or a name, ends without a full stop, and names no option of a command.

    Args:
        text: the sentence.
        arguments: arguments of the library that can repair it; a command line adds the options for them.
    """

    def __init__(self, text: str, *arguments: str):
        super().__init__(text)
        self.arguments = arguments
