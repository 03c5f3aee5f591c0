"""Options that several commands of the analysis share: how to read a table, where to write a result."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.errors import InputError
from harness.records.files import write_json


def save(path: Path | None, result: Any) -> None:
    """Write a result as JSON where a path was given; raises InputError where it cannot be written."""
    if path is not None:
        try:
            write_json(path, result)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error


def parse_pairs(text: str | None, option: str, example: str) -> dict[str, str]:
    """`N=params,D=tokens` as a dictionary."""
    if not text:
        return {}
    pairs = [entry.split("=", 1) for entry in text.split(",")]
    wrong = [pair[0] for pair in pairs if len(pair) != 2]
    if wrong:
        raise InputError(f"{option} has {wrong[0]!r} without '=': type it as {example}")
    return {key.strip(): value.strip() for key, value in pairs}


def parse_scale(text: str | None) -> dict[str, float]:
    """`N=1e9,D=1e6` as positive factors."""
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
