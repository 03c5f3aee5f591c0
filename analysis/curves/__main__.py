"""`python -m analysis.curves results/NAME` or `CURVES.csv --at STEP`: where running curves end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.curves.forecast import forecast_runs
from analysis.curves.run import Run
from analysis.curves.schedule import EXAMPLE as PLAN
from analysis.curves.score import score, try_forecasts
from analysis.curves.sweep import SweepCurves, labels_of
from analysis.curves.table import read_curves, text_at
from analysis.curves.text import curves_text
from analysis.table_options import add_level, parse_pairs, save
from analysis.tables.frames import FORMATS
from harness.records.command_line import CommandParser, output_file
from harness.records.errors import InputError
from harness.records.json_files import to_json

EXAMPLE = """\
python -m analysis.curves results/chinchilla
python -m analysis.curves curves.csv --map run=name,step=iteration,loss=val,lr=rate,N=params --at 72000
python -m analysis.curves curves.csv --schedule wsd,warmup=2000,decay=0.2 --at big=72000"""


def _parser() -> CommandParser:
    command = CommandParser(
        "analysis.curves",
        "Forecast where unfinished runs end, with intervals, and name those that left their band.",
        EXAMPLE,
    )
    command.add_argument(
        "source", type=Path, help=f"folder of a sweep, running or finished, or a table of curves ({FORMATS})"
    )
    command.add_argument(
        "--map",
        dest="mapping",
        metavar="KEY=COLUMN,…",
        help="columns of a table: run, step (or tokens), loss, lr, and N if sizes differ",
    )
    command.add_argument(
        "--at", metavar="STEP", help="planned last step of unfinished runs: 72000, or RUN=72000,RUN=24000"
    )
    command.add_argument(
        "--schedule",
        metavar="PLAN",
        help=f"learning rates that the table lacks: constant, cosine, linear or wsd, such as {PLAN}",
    )
    add_level(command)
    command.add_argument("--json", type=output_file, metavar="OUT", help="write the result here")
    return command


def _runs(arguments: argparse.Namespace) -> tuple[list[Run], dict[str, str]]:
    """Return the runs, and what to call them."""
    if arguments.source.is_dir():
        given = [name for name in ("mapping", "at", "schedule") if getattr(arguments, name) is not None]
        if given:
            raise InputError("a sweep knows its columns, ends and schedules: leave the option out", *given)
        return SweepCurves(arguments.source).read(), labels_of(arguments.source)
    mapping = parse_pairs(arguments.mapping, "--map", "step=COLUMN,loss=COLUMN")
    runs = read_curves(
        arguments.source, mapping=mapping, schedule=arguments.schedule, at=text_at(arguments.at)
    )
    return runs, {}


def _run(arguments: argparse.Namespace) -> None:
    runs, labels = _runs(arguments)
    record = forecast_runs(runs, arguments.level)
    ahead = [end for end in record.ends if end.note]
    if ahead and len(ahead) == len(record.ends):
        raise InputError(f"run {ahead[0].run} is {ahead[0].note}; type the command again later")
    tried = score(try_forecasts(runs, level=arguments.level), arguments.level)
    record = replace(record, scores=tried)
    print(curves_text(record, labels))
    save(arguments.json, to_json(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0 when done, 2 when the input cannot be used."""
    return _parser().answer(argv, _run)


if __name__ == "__main__":
    sys.exit(main())
