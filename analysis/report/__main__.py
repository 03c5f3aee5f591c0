"""The command `python -m analysis.report`: write one HTML file without network needs, and its figures.

python -m analysis.report results/chinchilla
python -m analysis.report results/chinchilla results/ladder --out both.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.report.build import write_report
from analysis.report.together import write_together
from harness.records.command_line import CommandParser, output_file
from harness.records.errors import InputError

EXAMPLE = """\
python -m analysis.report results/chinchilla
python -m analysis.report results/chinchilla results/ladder --out both.html"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = CommandParser(
        "analysis.report",
        "Write the report of a sweep: one HTML file that needs no network, and figures as PNG and SVG.",
        EXAMPLE,
    )
    parser.add_argument(
        "folder", type=Path, nargs="+", help="folder of a finished sweep; several make one page side by side"
    )
    parser.add_argument(
        "--out",
        type=output_file,
        metavar="OUT.html",
        help="page of several sweeps (default together.html)",
    )
    return parser.answer(argv, _run)


def _run(arguments: argparse.Namespace) -> None:
    folders: list[Path] = arguments.folder
    for folder in folders:
        if folder.is_file():
            raise InputError(
                f"expected the folder of a sweep, got the file {folder}; type python -m analysis.fit "
                f"{folder} --report {folder.stem}.html for the report of a table"
            )
    if len(folders) > 1:
        print(write_together(folders, arguments.out or Path("together.html")))
        return
    if arguments.out is not None:
        raise InputError("--out names the page of several sweeps and one folder came: leave it out")
    print(write_report(*folders))


if __name__ == "__main__":
    sys.exit(main())
