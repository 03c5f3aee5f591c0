"""`python -m analysis.same_law results/<sweep> results/<other>`: whether two sweeps follow one law.

The sweeps were trained on the same text and differ in something else, such as the depth of their models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.arrays import Interval
from analysis.contest.agreement import POWER, RESAMPLES, Agreement, Held, compare_laws
from analysis.contest.depth import FOUND_WITH, DepthPower
from analysis.records.fit import COUNTS
from analysis.table_options import MOST_RESAMPLES
from analysis.tables.table import load_table
from harness.records.columns import checked_points
from harness.records.command_line import CommandParser, whole_number
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.number_text import estimate, in_percent, p_statement, percent, si
from harness.records.paths import SweepFolder

SAME = ("corpus_id", "tokenizer_id", "vocab_size")  # without them losses do not compare
FEWEST_RESAMPLES = 100  # that an interval needs


def text_of(found: Agreement, first: str, second: str) -> str:
    """Return the comparison in words: rung by rung, each sweep by the law of the other, and the verdict.

    Args:
        found: the comparison.
        first: name of the sweep whose law is held against the other.
        second: name of the other sweep.
    """
    forward, backward = found.forward, found.backward
    lines = [
        f"{int(forward.inside.sum())} of {len(forward.loss)} cells of {second} lie in the range of {first}. "
        "There, at equal N and D, its law gives losses that differ by",
        *(
            f"  {row.rung or 'size'}: {_difference(row.value, row.interval)} (N = {si(row.n)}, "
            f"{row.n_cells} token counts)"
            for row in found.rungs
        ),
        f"  all cells: {_difference(found.shift, found.shift_interval)}",
        _held(forward, second, first, found.level),
        _held(backward, first, second, found.level),
        *([] if found.depth is None else [depth_line(found.depth, second)]),
        verdict(found, first, second),
    ]
    return "\n".join(lines)


def depth_line(depth: DepthPower, second: str) -> str:
    """Return how the loss varies with depth at equal N and D, and whether the laws differ in more."""
    power = estimate(depth.power, depth.interval, 3)
    return (
        f"depth: at equal N and D the losses of {second} vary as n_layers^{power} ({p_statement(depth.p)}); "
        f"a power of {depth.found:.3f} would have been found with probability {FOUND_WITH:g}. Without that "
        f"power the laws differ with {p_statement(depth.left)}"
    )


def verdict(found: Agreement, first: str, second: str) -> str:
    """Return whether the two laws differ, with the power of the test."""
    low, high = found.shift_interval
    if not found.differ:
        said = f"follows the law of {first}, as far as these runs tell: level and slopes do not differ"
    elif low <= 0 <= high:
        said = f"follows another law than {first}: not on average, but its slopes in N and D differ"
    else:
        by = _difference(found.shift, found.shift_interval)
        said = f"follows another law than {first}: its losses differ by {by} on average"
    return (
        f"verdict: {second} {said} ({p_statement(found.p)}; a common law gives p below "
        f"{1 - found.level:.2g} in {percent(1 - found.level, 0)} of comparisons). A difference of "
        f"{percent(found.found)} in all cells would have been found with probability {POWER:g}"
    )


def _difference(value: float, ends: Interval) -> str:
    """Return a difference of log loss in per cent of the loss, with its interval."""
    in_parts = [float(100 * np.expm1(each)) for each in (value, *ends)]
    return f"{estimate(in_parts[0], in_parts[1:], 2)} %"


def _held(cells: Held, of: str, by: str, level: float) -> str:
    return (
        f"losses of {of} by the law of {by}: RMS error {in_percent(100 * cells.rms)}, "
        f"{percent(cells.covered, 0)} inside the {level:.0%} intervals of a new run"
    )


def read_points(folder: Path) -> pd.DataFrame:
    """Return points.parquet of a sweep; raise InputError if it is missing or not one."""
    path = SweepFolder(folder).points
    if not path.exists():
        raise InputError(f"{path} was expected and is not there; run the sweep first or give its folder")
    return checked_points(read_table(path), path)


def check_same_text(first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Raise InputError unless the points of two sweeps are of the same text and tokenizer."""
    for column in SAME:
        one, two = (sorted(map(str, set(points[column].dropna()))) for points in (first, second))
        if one != two:
            raise InputError(
                f"the sweeps have {column}={', '.join(one)} and {', '.join(two)}, and losses compare only on "
                "the same text and tokenizer; train the second with the data and versions of the first"
            )


def _parser() -> CommandParser:
    parser = CommandParser(
        "analysis.same_law",
        "Say whether a sweep follows the law of another one on the same text, such as one of another depth.",
        "python -m analysis.same_law results/chinchilla results/ladder",
    )
    parser.add_argument("first", type=Path, help="folder of the sweep whose law is held against the other")
    parser.add_argument("second", type=Path, help="folder of the other sweep")
    parser.add_argument(
        "--count", choices=COUNTS, default=COUNTS[0], help="what N counts, at which sizes are equal"
    )
    parser.add_argument(
        "--resamples",
        type=whole_number(FEWEST_RESAMPLES, MOST_RESAMPLES),
        default=RESAMPLES,
        help="redrawn estimates of each law",
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    points = [read_points(folder) for folder in (arguments.first, arguments.second)]
    check_same_text(*points)
    tables = [load_table(frame, count=arguments.count) for frame in points]
    found = compare_laws(*tables, resamples=arguments.resamples)
    print(text_of(found, arguments.first.as_posix(), arguments.second.as_posix()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return _parser().answer(arguments, _run)


if __name__ == "__main__":
    sys.exit(main())
