"""Command lines of both packages: one parser, its help and its completion."""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NoReturn

from harness.records.errors import InputError, exit_code, nearest
from harness.records.secret_text import redacted

# Names of installed commands begin so; the project's settings list them.
INSTALLED = "scaling-"
PACKAGE = "scaling-harness"


# A command of ours in a text.
COMMAND = re.compile(r"\bpython -m ((?:harness|analysis)(?:\.\w+)+)")
WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
MOST = 2**32 - 1  # of a seed
# Bash splits a line at signs of equality, and options of shtab know no words such as KEY=VALUE. This function
# completes them, and leaves options and their values to shtab. A whole word ends with a blank.
BASH_WORDS = r"""
_words_of_%(name)s() {
  local typed="${COMP_LINE:0:COMP_POINT}" IFS=$'\n'
  local word="${typed##*[[:space:]]}"
  local rest="${typed%%"$word"}"
  rest="${rest%%"${rest##*[![:space:]]}"}"
  if [[ "$word" == -* || " %(valued)s " == *" ${rest##*[[:space:]]} "* ]]; then
    compopt -o filenames +o nospace
    IFS=$' \t\n' %(shtab)s
    return
  fi
  COMPREPLY=($(compgen -W %(words)s -- "$word"))
  if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
    COMPREPLY=("${COMPREPLY[@]#"${word%%"${word##*=}"}"}")
  fi
}
complete -o nospace -F _words_of_%(name)s %(program)s
"""


def program_name(module: str, path: str | None = None) -> str:
    """Return what to type for a command, in the way in which this process was started.

    After `python -m` that is `python -m`. After an installed name it is the installed name of the command,
    or its file where the shell would not find it by that name; for a command without an installed name it is
    `python -m` of the same environment.

    Args:
        module: the module behind `python -m`.
        path: path that the process was started by; that of this process by default.

    >>> program_name("analysis.fit", "/bin/scaling-sweep"), program_name("analysis.fit", "fit.py")
    ('scaling-fit', 'python -m analysis.fit')
    """
    started = Path(sys.argv[0] if path is None else path)
    if not started.name.startswith(INSTALLED):
        return f"python -m {module}"
    name = installed_names().get(module)
    if name is None:
        return f"{_found_by('python', Path(sys.executable))} -m {module}"
    return _found_by(name, started.with_name(name))


def as_typed(text: str) -> str:
    """Return a text whose commands `python -m …` of ours are those that run here (`program_name`)."""
    return COMMAND.sub(lambda found: program_name(found[1]), text)


@cache
def installed_names() -> dict[str, str]:
    """Return {module: installed name} of the commands that have one."""
    try:
        scripts = distribution(PACKAGE).entry_points.select(group="console_scripts")
    except PackageNotFoundError:  # A checkout on the path, of which nothing is installed.
        return {}
    return {each.module.removesuffix(".__main__"): each.name for each in scripts}


def _found_by(name: str, file: Path) -> str:
    """Return a name by which a shell finds a file, or else its path; the name if there is no such file."""
    # uv adds the folder of an environment to the path of what it starts, not to that of the shell.
    is_found = "UV" not in os.environ and shutil.which(name) == str(file.absolute())
    return name if is_found or not file.exists() else shlex.quote(str(file.absolute()))


class _PrintCompletion(argparse.Action):
    """Option that prints what completes the command in a shell, and ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        try:
            import shtab
        except ImportError as error:
            raise InputError(
                "completion needs the package shtab, which is not installed; install the extra completion"
            ) from error
        for action in parser._actions:
            if action.type in (Path, output_file) or action.metavar == "FILE":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell=str(values)))
        if values == "bash" and isinstance(parser, CommandParser) and parser.words:
            name = re.sub(r"\W", "_", parser.prog)
            words = shlex.quote("\n".join(parser.words))
            valued = [sign for each in parser._actions if each.nargs != 0 for sign in each.option_strings]
            parts = {"name": name, "shtab": f"_shtab_{name}", "words": words, "program": parser.prog}
            print(BASH_WORDS % (parts | {"valued": " ".join(valued)}))
        parser.exit()


class CommandParser(argparse.ArgumentParser):
    """Parser that raises InputError for a mistake; options may stand between positional arguments.

    Args:
        module: the module behind `python -m`.
        description: one sentence on the purpose of the command.
        example: command lines to copy, shown at the end of `--help`.
        keys: names without dashes that the command also takes, suggested for a misspelt option.
        words: what the shell completes besides options, such as `KEY=`, and `KEY=VALUE ` with a blank behind.
    """

    def __init__(
        self,
        module: str,
        description: str,
        example: str,
        keys: Sequence[str] = (),
        words: Sequence[str] = (),
    ):
        program = program_name(module)
        super().__init__(
            prog=program,
            description=as_typed(description),
            epilog=f"example:\n{textwrap.indent(as_typed(example), '  ')}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._keys, self.words = keys, words
        if Path(sys.argv[0]).name.startswith(INSTALLED):
            self.add_argument(
                "--print-completion",
                action=_PrintCompletion,
                choices=("bash", "zsh", "tcsh"),
                help="print what completes this command in a shell, and stop (needs shtab)",
            )

    def answer(self, arguments: Sequence[str] | None, act: Callable[[argparse.Namespace], int | None]) -> int:
        """Parse, act, and return the exit code: that of `act`, or 2 for an InputError.

        The sentence of an InputError goes to standard error, with the options for the arguments it names.
        """
        # A terminal may lack the letters of a path; printing it must not end the command.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return exit_code(lambda: act(self.read(arguments)), self._sentence)

    def read(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse the arguments, by default those of the process; raises InputError."""
        given = sys.argv[1:] if arguments is None else list(arguments)
        # Before argparse, which would first ask for a positional argument that is missing too.
        self._refuse([word for word in given if word.startswith("--") and not self._knows(word)])
        found, unknown = self.parse_known_intermixed_args(given)
        self._refuse(unknown)
        return found

    def error(self, message: str) -> NoReturn:
        """Raise InputError in place of printing the usage and ending the process."""
        raise InputError(f"{message}; --help explains the options")

    def _sentence(self, error: InputError) -> str:
        """Return the text of an error, with ` (--law, --map)` behind it if options store what it names."""
        options = {
            action.dest: action.option_strings[-1] for action in self._actions if action.option_strings
        }
        found = [options[name] for name in error.arguments if name in options]
        return as_typed(str(error)) + (f" ({', '.join(found)})" if found else "")

    def _knows(self, word: str) -> bool:
        """Whether a word is an option, or an abbreviation of one; argparse tells whether it is ambiguous."""
        name = word.partition("=")[0]
        return any(option.startswith(name) for option in self._option_string_actions)

    def _refuse(self, unknown: Sequence[str]) -> None:
        """Raise InputError for the first unknown word, with the nearest spelling."""
        for word in unknown:
            names = {name.lstrip("-"): name for name in (*self._keys, *self._option_string_actions)}
            found = nearest(word.partition("=")[0].lstrip("-"), list(names))
            hint = f"did you mean {names[found]}?" if found else "--help lists the options"
            what = "option" if word.startswith("-") else "argument"
            raise InputError(f"unknown {what} {word}; {hint}")


def add_model(parser: CommandParser) -> None:
    """Add the arguments that name a trained model: `folder` and `run`."""
    parser.add_argument("folder", type=Path, help="folder of a sweep, for example results/mine")
    parser.add_argument(
        "--run", metavar="ID", help="rung, run or end point (default: the end point with the lowest loss)"
    )


def output_file(text: str) -> Path:
    """Return the path of a file to write; refuse the path of a folder, which a write would move away."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; give the name of a file")
    return path


def whole_number(least: int, most: int = MOST) -> Callable[[str], int]:
    """Return what reads an option that is a whole number from `least` to `most`.

    >>> whole_number(0)("12")
    12
    """

    def read(text: str) -> int:
        # Shorter texts alone: Python refuses to read thousands of digits.
        found = int(text) if WHOLE.fullmatch(text) else None
        if found is None or not least <= found <= most:
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} was given, expected a whole number from {least:,} to {most:,}"
            )
        return found

    return read


def recorded(module: str, arguments: Sequence[str]) -> str:
    """Return a command as one line to paste into a shell, with *** for what looks like a secret.

    Args:
        module: the module behind `python -m`.
        arguments: arguments of the command.
    """
    return shlex.join(["python", "-m", module, *map(redacted, arguments)])
