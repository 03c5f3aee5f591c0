"""`python -m analysis.replications FOLDER`: hold every stated interval against the other replications."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.replications.study import study_replications
from analysis.replications.text import text_of
from analysis.table_options import save
from harness.records.command_line import CommandParser, output_file
from harness.records.json_files import to_json


def _parser() -> CommandParser:
    parser = CommandParser(
        "analysis.replications",
        "Hold forecasts and intervals of an experiment against its replications.",
        "python -m analysis.replications results/replications/chinchilla --fixed 10 --report report.html",
    )
    parser.add_argument("folder", type=Path, help="folder of replications, as harness.replicate makes it")
    parser.add_argument(
        "--fixed",
        type=int,
        default=0,
        metavar="K",
        help="the first K replications fixed a rule; the others are shown apart as unseen",
    )
    parser.add_argument("--json", type=output_file, metavar="OUT", help="write the result here")
    parser.add_argument(
        "--report", type=output_file, metavar="OUT", help="write a report of one HTML file here"
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    found = study_replications(arguments.folder, fixed=arguments.fixed)
    print(text_of(found))
    save(arguments.json, to_json(found))
    if arguments.report:
        from analysis.replications.page import write_page

        write_page(found, arguments.report)
        print(f"report: {arguments.report}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return _parser().answer(argv, _run)


if __name__ == "__main__":
    sys.exit(main())
