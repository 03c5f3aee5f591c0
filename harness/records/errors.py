"""Wrong input: one sentence on standard error and exit code 2, without a traceback."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable

WRONG_INPUT_EXIT_CODE = 2


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


def near(word: str, names: list[str]) -> str:
    """Return a clause that suggests the name nearest to a mistyped word; empty if none is near."""
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def exit_code(act: Callable[[], int | None], options_for: Callable[[InputError], str] = lambda _: "") -> int:
    """Act, and return the exit code: that of `act`, or 2 after an InputError.

    The sentence of an InputError goes to standard error; `options_for` adds the options that repair it. Any
    other exception is a bug and keeps its traceback.
    """
    try:
        return act() or 0
    except InputError as error:
        print(f"error: {error}{options_for(error)}", file=sys.stderr)
        return WRONG_INPUT_EXIT_CODE
