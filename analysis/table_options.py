"""Options that several commands of the analysis share: how to read a table, where to write a result."""

from __future__ import annotations

import argparse
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from analysis.intervals import LEVEL
from analysis.tables.numbers import read_number
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.records.files import write_json

READING = ("mapping", "scale", "where", "loss_is")  # options of `add_reading`
MOST_RESAMPLES = 100_000  # more would fill the memory
QUOTED = r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'"  # a quote inside is written twice, as in CSV
# A key, and a value behind `=`: each in quotes, or up to the next sign that ends it.
PAIR = re.compile(
    rf"\s*(?P<key>{QUOTED}|[^=,]*?)\s*=\s*(?P<value>(?:{QUOTED})(?=\s*(?:,|$))|[^,]*)\s*(?:,|$)"
)


def save(path: Path | None, result: Any) -> None:
    """Write a result as JSON where a path was given; raises InputError where it cannot be written."""
    if path is not None:
        try:
            write_json(path, result)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error


def parse_pairs(text: str | None, option: str, example: str) -> dict[str, str]:
    """Return `N=params,D="tokens, B"` as a dictionary; names with commas stand in quotes.

    Raises:
        InputError: an entry without `=`, or a key that is given twice.
    """
    pairs: dict[str, str] = {}
    position = 0
    while text and position < len(text):
        found = PAIR.match(text, position)
        if found is None:
            entry = text[position:].split(",", 1)[0]
            raise InputError(
                f"{option} has {entry!r} without '=': type it as {example}, with quotes around a name that "
                "has a comma"
            )
        key, value = _bare(found["key"]), _bare(found["value"].strip())
        if key in pairs:
            raise InputError(f"{option} has {key!r} twice: type it once, as in {example}")
        pairs[key] = value
        position = found.end()
    return pairs


def _bare(text: str) -> str:
    """Return a text without the quotes around it."""
    if not re.fullmatch(QUOTED, text):
        return text
    return text[1:-1].replace(2 * text[0], text[0])


def parse_scale(text: str | None) -> dict[str, float]:
    """Return `N=1e9,D=1e6` as {quantity: positive factor}; raise InputError for any other text."""
    scale: dict[str, float] = {}
    for key, value in parse_pairs(text, "--scale", "N=1e9,D=1e6").items():
        try:
            scale[key] = float(value)
        except ValueError:
            scale[key] = np.nan
        if not 0 < scale[key] < np.inf:
            raise InputError(f"--scale has {key}={value}: expected a positive number such as {key}=1e9")
    return scale


def add_reading(parser: CommandParser, columns: str = "N=params,D=tokens,loss=val_loss") -> None:
    """Add the options that `reading` takes; `columns` says in `--help` what can be mapped."""
    parser.add_argument(
        "--map", dest="mapping", metavar="KEY=COLUMN,…", help=f"columns of a foreign table: {columns}"
    )
    parser.add_argument("--scale", help="units of N, D or C: N=1e9,D=1e6 for billions and millions")
    parser.add_argument(
        "--loss-is",
        metavar="SCALE",
        help="scale of the loss column: nats (per token), perplexity, bits_per_token, or bits_per_byte=4.2 "
        "if a token holds 4.2 bytes; it is converted to nats per token",
    )
    parser.add_argument("--where", help="keep rows with these values: dataset=c4,schedule=cosine")


def reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how `load_table` is to read the table of a command, as arguments of it."""
    return {
        "mapping": parse_pairs(arguments.mapping, "--map", "N=COLUMN,D=COLUMN,loss=COLUMN"),
        "scale": parse_scale(arguments.scale),
        "where": parse_pairs(arguments.where, "--where", "COLUMN=VALUE"),
        "loss_is": arguments.loss_is,
    }


def origin_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return where the rows of a fit are, as JSON: file, SHA-256 of its bytes, options that read it."""
    typed = {name: getattr(arguments, name) for name in (*READING, "count", "loss")}
    return {"path": str(arguments.table), "sha256": sha256_of(arguments.table), **typed}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_level(parser: CommandParser) -> None:
    """Add `--level`, the confidence of intervals."""
    parser.add_argument(
        "--level", type=_share, default=LEVEL, help=f"confidence of the intervals (default {LEVEL:g})"
    )


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} was given, expected a share between 0 and 1 such as {LEVEL:g}"
        )
    return found


def positive_number(text: str) -> float:
    """Read an option that is a positive number, such as FLOPs, tokens or a price.

    >>> positive_number("1e21"), positive_number("7B")
    (1e+21, 7000000000.0)
    """
    found = read_number(text)
    if found is None or not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} was given, expected a positive number such as 1e21 or 7B")
    return found
