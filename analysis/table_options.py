"""Options that several commands of the analysis share: how to read a table, where to write a result."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.errors import InputError
from harness.records.files import write_json

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


def reading(arguments: argparse.Namespace) -> tuple[dict[str, str], dict[str, float], dict[str, str]]:
    """How to read the table: the columns of quantities, their units, and the values of wanted rows."""
    mapping = parse_pairs(arguments.mapping, "--map", "N=COLUMN,D=COLUMN,loss=COLUMN")
    return mapping, parse_scale(arguments.scale), parse_pairs(arguments.where, "--where", "COLUMN=VALUE")
