"""Wrong input: one sentence on standard error and exit code 2, without a traceback.

And the end of a command whose output nobody reads any more.
"""

from __future__ import annotations

import difflib
import errno
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

WRONG_INPUT_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT
CLOSED_PIPE_EXIT_CODE = 141  # 128 + SIGPIPE, as a shell reports programs in C
# What the file system can refuse through no fault of ours.
FILE_TROUBLE = (
    errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO, errno.EROFS, errno.ENOSPC,
    errno.EDQUOT, errno.ESTALE, errno.EISDIR, errno.ENOTDIR,
)  # fmt: skip
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Share of equal letters from which on a name is near: a slip of the finger leaves 0.75 of `gelu` in `gleu`.
NEAR = 0.7
# What numbers that contradict each other can raise: each is possible, and only together they are not.
CONTRADICTIONS = (ValueError, ArithmeticError, LookupError, StopIteration)


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


# What a sweep makes from the files of its runs, and what mends it.
MADE_BY_SWEEP = (
    "points.parquet", "curves.parquet", "evals.parquet", "items.parquet", "fits.json", "emergence.json",
)  # fmt: skip
SWEEP_AGAIN = (
    "type the sweep's command again (`command` in its sweep.json), which makes it anew from the runs, or put "
    "it back from a copy"
)
COPY = "put it back from a copy, or write it again by the program that made it"


class Damaged(InputError):
    """A file that cannot be read, or that has other content than was written.

    Args:
        path: the file.
        reason: what is wrong with it, in words.
        way_out: what to type or do instead; None names what makes a file of this name anew.
    """

    def __init__(self, path: Path, reason: str, way_out: str | None = None):
        if way_out is None:
            way_out = SWEEP_AGAIN if path.name in MADE_BY_SWEEP else COPY
        super().__init__(f"{path} cannot be read ({reason}); {way_out}")
        self.path = path
        self.reason = reason


def nearest(word: str, names: Sequence[str]) -> str | None:
    """Return the name nearest to a mistyped word; None if none is near."""
    found = difflib.get_close_matches(word, names, n=1, cutoff=NEAR)
    return found[0] if found else None


def near(word: str, names: Sequence[str]) -> str:
    """Return a clause that suggests the name nearest to a mistyped word; empty if none is near."""
    found = nearest(word, names)
    return f"; did you mean {found}?" if found else ""


def printable(text: str) -> str:
    r"""Return a text as one line, with `?` for what a terminal would obey or could not print.

    >>> printable("d16\x1b[2J"), printable("size\nµ")
    ('d16?[2J', 'size µ')
    """
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "?" for character in text
    )


def exit_code(act: Callable[[], int | None], sentence: Callable[[InputError], str] = str) -> int:
    """Act, and return the exit code: that of `act`, 2 after an InputError, 130 after Ctrl-C, 141 unread.

    The sentence of an InputError goes to standard error, as `sentence` spells it. A file that the system
    refuses is named likewise. Any other exception is a bug and keeps its traceback.
    `command | head -1` ends quietly.
    """
    try:
        try:
            code = act() or 0
        except InputError as error:
            print(printable(f"error: {sentence(error)}"), file=sys.stderr)
            code = WRONG_INPUT_EXIT_CODE
        except OSError as error:
            if error.filename is None and error.errno in NO_ROOM:
                return _say_full(error)
            if error.errno not in FILE_TROUBLE or error.filename is None:
                raise
            reason = (error.strerror or "refused").lower()
            way_out = "expected a file that may be used, mend or move it and try again"
            print(printable(f"error: {error.filename} cannot be used ({reason}); {way_out}"), file=sys.stderr)
            code = WRONG_INPUT_EXIT_CODE
        except KeyboardInterrupt:
            # Files are written whole or not at all, so there is nothing to save.
            print("interrupted; the same command does it again", file=sys.stderr)
            code = INTERRUPTED_EXIT_CODE
        except SystemExit as left:
            if isinstance(left.__context__, BrokenPipeError):  # Rich leaves in this way, with exit code 1.
                return CLOSED_PIPE_EXIT_CODE
            _flush()
            raise
        try:
            _flush()  # Here, because a pipe found closed at the end of the interpreter is reported loudly.
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return _say_full(error)
    except BrokenPipeError:
        if not _discard_what_nobody_reads():
            raise
        return CLOSED_PIPE_EXIT_CODE
    return code


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None if the process was started without it.
            stream.flush()


def _say_full(error: OSError) -> int:
    """Say that there is no room for what the command writes or prints, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # Else the end of the interpreter would fail for the rest of what was printed.
            _lead_nowhere(stream.fileno())
    reason = (error.strerror or "refused").lower()
    print(f"error: what the command writes has no room ({reason}); make some and try again", file=sys.stderr)
    return WRONG_INPUT_EXIT_CODE


def _discard_what_nobody_reads() -> bool:
    """Lead standard streams without a reader to nowhere; return whether there was one."""
    found = False
    for stream in (sys.stdout, sys.stderr):
        try:
            number = stream.fileno()
            poll = select.poll()
            poll.register(number, select.POLLOUT)
            left = any(state & select.POLLERR for _, state in poll.poll(0))
        except (OSError, ValueError, AttributeError):  # A stream without a file, as in a notebook, or none.
            continue
        if left:
            found = True
            _lead_nowhere(number)
    return found


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
