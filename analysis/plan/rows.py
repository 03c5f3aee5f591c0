"""The rows behind a fit that was written as JSON, found again where they were."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from analysis.table_options import READING, sha256_of
from harness.records.errors import InputError

LARGEST_FIT = 10_000_000  # bytes of a file that may be a fit; more is a table
KEYS = {"law", "params", "objective"}  # of every fit


def take_rows_of_fit(arguments: argparse.Namespace) -> str:
    """Let the arguments name the rows of a fit in the place of the fit; return the column of the loss.

    What a run will cost is stated with intervals, from rows. A fit alone speaks for its law alone, the fits
    of all approaches over the laws. A table stays as it is named.

    Raises:
        InputError: the rows of the fit are not where they were, or they have changed.
    """
    path: Path = arguments.table
    fits = _fits_in(path)
    if not fits:
        return "loss"
    law = fits[0]["law"]
    give = f"give the table that was fitted, with its columns, and {law} for this law alone"
    repair = ("mapping", "law")
    origin = next((fit["table"] for fit in fits if isinstance(fit.get("table"), dict)), None)
    if origin is None:
        raise InputError(f"{path} holds a fit without its rows, and intervals need the rows: {give}", *repair)
    typed = Path(str(origin.get("path")))
    found = next((each for each in (typed, path.parent / typed) if each.is_file()), None)
    if found is None:
        raise InputError(f"{path} holds a fit of {typed}, which is not there: {give}", *repair)
    if sha256_of(found) != origin.get("sha256"):
        raise InputError(
            f"{path} holds a fit of {found}, which has changed since: fit it again, or {give}", *repair
        )
    arguments.table = found
    for name in READING:
        setattr(arguments, name, getattr(arguments, name) or origin.get(name))
    arguments.count = origin.get("count", arguments.count)
    if len(fits) == 1 and fits[0].get("approach") == "parametric":
        arguments.law = arguments.law or law
    return str(origin.get("loss", "loss"))


def _fits_in(path: Path) -> list[dict[str, Any]]:
    """Return the fits in a file; none if it holds something else."""
    if path.suffix != ".json" or not path.is_file() or path.stat().st_size > LARGEST_FIT:
        return []
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return []  # reading the table says what is wrong with it
    each = found if isinstance(found, list) else [found]
    is_fit = all(isinstance(fit, dict) and fit.keys() >= KEYS for fit in each)
    return each if is_fit else []
