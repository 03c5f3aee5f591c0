"""The command `python -m analysis.report`: write one HTML file without network needs, and its figures.

python -m analysis.report results/chinchilla
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.report.build import write_report
from harness.records.command_line import CommandParser
from harness.records.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = CommandParser(
        "analysis.report",
        "Write the report of a sweep: one HTML file that needs no network, and figures as PNG and SVG.",
        "python -m analysis.report results/chinchilla",
    )
    parser.add_argument(
        "folder", type=Path, help="folder of a finished sweep, for example results/chinchilla"
    )
    return parser.answer(argv, _run)


def _run(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.folder
    if folder.is_file():
        raise InputError(
            f"expected the folder of a sweep, got the file {folder}; type python -m analysis.fit {folder} "
            f"--report {folder.stem}.html for the report of a table"
        )
    print(write_report(folder))


if __name__ == "__main__":
    sys.exit(main())
