"""`python -m analysis.compare RESULTS_A RESULTS_B`: which recipe is better, and by how much compute."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.compare.calibrate import compare_with_itself
from analysis.compare.read import check_one_arm, read_arms, read_source, split_arms
from analysis.compare.study import RESAMPLES, compare_arms
from analysis.compare.text import calibration_text, texts_of
from analysis.records.comparison import ComparisonRecord
from analysis.records.fit import COUNTS
from analysis.table_options import (
    MOST_RESAMPLES,
    add_level,
    add_reading,
    positive_number,
    reading,
    save,
)
from analysis.tables.frames import FORMATS
from harness.records.columns import ARM
from harness.records.command_line import CommandParser, output_file, whole_number
from harness.records.errors import InputError
from harness.records.json_files import to_json

EXAMPLE = """\
python -m analysis.compare results/compare --target 1e14
python -m analysis.compare results/old results/new --json compare.json
python -m analysis.compare runs.csv --map arm=recipe,N=params,D=tokens,loss=val_loss"""


def _parser() -> CommandParser:
    command = CommandParser(
        "analysis.compare",
        "Compare two recipes at equal loss: by how much compute, tokens or parameters one is better.",
        EXAMPLE,
    )
    command.add_argument("first", type=Path, help=f"base arm, or all arms: folder of a sweep, {FORMATS}")
    command.add_argument("second", type=Path, nargs="?", help="the other arm; else the table names the arms")
    command.add_argument(
        "--base", metavar="ARM", help="base arm of a table of arms (default: of its first row)"
    )
    add_reading(
        command,
        "arm=recipe,N=params,D=tokens,loss=val,seed=seed,rung=size; arm is the column that names the arm",
    )
    command.add_argument("--target", type=_flops, metavar="FLOPS", help="a further budget for the answer")
    command.add_argument(
        "--noise",
        type=float,
        metavar="SD",
        help="standard deviation of log loss between seeds, if known",
    )
    command.add_argument("--count", choices=COUNTS, default=COUNTS[0], help="column of N in our own tables")
    command.add_argument("--loss", default="loss", help="column that holds the loss")
    command.add_argument(
        "--itself",
        type=int,
        metavar="SEEDS",
        help="compare disjoint groups of so many seeds of one recipe: how often are they said to differ?",
    )
    add_level(command)
    command.add_argument(
        "--resamples",
        type=whole_number(1, MOST_RESAMPLES),
        default=RESAMPLES,
        help="redrawn estimates of each law",
    )
    command.add_argument("--seed", type=whole_number(0), default=0, help="of everything random")
    command.add_argument("--json", type=output_file, metavar="OUT", help="write the result here")
    return command


def _flops(text: str) -> float:
    """Return a budget typed as `3e12` or `C=3e12`."""
    return positive_number(text.removeprefix("C="))


def _run(arguments: argparse.Namespace) -> None:
    options = reading(arguments) | {"loss": arguments.loss}
    mapping = options.pop("mapping")
    column = mapping.pop("arm", ARM)
    frame = read_source(arguments.first)
    if arguments.itself is not None:
        _itself(arguments, frame, mapping, options)
        return
    arms = _arms(arguments, frame, column)
    base, *others = arms
    found: list[ComparisonRecord] = []
    for other in others:
        names = (base, other)
        tables = read_arms(arms[base], arms[other], names, mapping, arguments.count, **options)
        if not found and tables[0].read_as:
            print(f"read as: {tables[0].read_as}")
        found.append(
            compare_arms(
                *tables,
                names=names,
                target=arguments.target,
                noise=arguments.noise,
                level=arguments.level,
                resamples=arguments.resamples,
                seed=arguments.seed,
            )
        )
    print(texts_of(found))
    entries = to_json(found)
    save(arguments.json, entries if len(entries) > 1 else entries[0])


def _itself(
    arguments: argparse.Namespace, frame: pd.DataFrame, mapping: dict[str, str], options: dict[str, Any]
) -> None:
    """Compare groups of seeds of one recipe; `mapping` and `options` say how its table is read."""
    if any(getattr(arguments, name) is not None for name in ("second", "base", "target", "noise")):
        raise InputError(
            "--itself compares the seeds of one table with each other: leave out a second table, --base, "
            "--target and --noise"
        )
    found = compare_with_itself(
        frame,
        arguments.itself,
        mapping=mapping,
        count=arguments.count,
        level=arguments.level,
        resamples=arguments.resamples,
        seed=arguments.seed,
        **options,
    )
    print(calibration_text(found))
    save(arguments.json, to_json(found.rows))


def _arms(arguments: argparse.Namespace, frame: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """Return the rows of each arm by name, the base arm first."""
    if arguments.second is None:
        return split_arms(frame, column, arguments.base)
    if arguments.base is not None:
        raise InputError(
            f"--base {arguments.base} chooses among the arms of one table, and two were given; leave it out: "
            "the first is the base"
        )
    names = [_name(path, other) for path, other in _both(arguments.first, arguments.second)]
    if names[0] == names[1]:
        raise InputError(f"{arguments.first} was given twice: expected two arms, such as results/OTHER")
    frames = frame, read_source(arguments.second)
    for each, name in zip(frames, names, strict=True):
        check_one_arm(each, column, name)
    return dict(zip(names, frames, strict=True))


def _both(first: Path, second: Path) -> list[tuple[Path, Path]]:
    return [(first, second), (second, first)]


def _name(path: Path, other: Path) -> str:
    """Return the name of an arm from its path: the last part, or all of it if the other ends alike."""
    return path.as_posix() if path.stem == other.stem else path.stem


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return _parser().answer(argv, _run)


if __name__ == "__main__":
    sys.exit(main())
