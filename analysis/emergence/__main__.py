"""`python -m analysis.emergence TABLE`: test whether a jump in exact match is one of the model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.emergence.read import AXES, read_evaluations
from analysis.emergence.study import judge_jumps
from analysis.emergence.text import text_of
from analysis.records.fit import COUNTS
from analysis.table_options import parse_pairs, parse_scale, save
from harness.records.command_line import CommandParser, output_file, whole_number
from harness.records.errors import InputError
from harness.records.json_files import to_json

EXAMPLE = "N=COLUMN,exact=COLUMN,smooth=COLUMN,task=COLUMN"


def _parser() -> CommandParser:
    parser = CommandParser(
        "analysis.emergence",
        "Judge each task: jump, smooth, artefact of exact match, or undecided.",
        "python -m analysis.emergence results/emergence --axis N",
    )
    parser.add_argument("table", type=Path, help="results/<sweep>, its evals.parquet, or a .csv or .parquet")
    parser.add_argument("--axis", help=f"one of {', '.join(AXES)}; all that the table varies if left out")
    parser.add_argument(
        "--map",
        dest="mapping",
        metavar="KEY=COLUMN,…",
        help=f"columns of a foreign table: {EXAMPLE}; the smooth metric is smooth (nats per token), "
        "perplexity, or score (a share that rises to 1); exact may be left out; "
        "metric=COLUMN,value=COLUMN for a long table",
    )
    parser.add_argument("--where", help="keep rows with these values: step=143000,shots=0")
    parser.add_argument("--scale", help="factors on columns: score=0.01 for percent, C=1e21")
    parser.add_argument("--count", default=COUNTS[0], help="column that holds N in our own tables")
    parser.add_argument("--chance", type=float, help="exact match of a guesser where the table has none")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of simulated nulls and bootstraps")
    parser.add_argument("--json", type=output_file, metavar="OUT", help="write the result here")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    if arguments.chance is not None and not 0 <= arguments.chance < 1:
        raise InputError(f"--chance is {arguments.chance:g}: expected a share from 0 to below 1 such as 0.1")
    found = read_evaluations(
        arguments.table,
        parse_pairs(arguments.mapping, "--map", EXAMPLE),
        parse_pairs(arguments.where, "--where", "COLUMN=VALUE"),
        arguments.count,
        arguments.chance,
        parse_scale(arguments.scale),
    )
    result = judge_jumps(found, axis=arguments.axis, seed=arguments.seed)
    print(text_of(result))
    save(arguments.json, to_json(result))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 when done, 2 when the input cannot be used."""
    return _parser().answer(argv, _run)


if __name__ == "__main__":
    sys.exit(main())
