"""`python -m analysis.schemas`: JSON schemas of fits.json, forecast.json, sweep.json and imported runs.

Each lies beside this module as NAME-VERSION.schema.json. A released version stays there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.records import fits, forecast
from analysis.schemas.json_schema import schema_of
from analysis.trackers import record
from harness.records import sweep_file
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.records.files import json_text, write_atomic

# Record and version by name of the file.
RECORDS: dict[str, tuple[type, int]] = {
    "fits": (fits.StudyRecord, fits.SCHEMA),
    "forecast": (forecast.ForecastRecord, forecast.SCHEMA),
    "import": (record.ImportRecord, record.SCHEMA),
    "sweep": (sweep_file.SweepRecord, sweep_file.SWEEP_SCHEMA),
}
EXAMPLE = """\
python -m analysis.schemas
python -m analysis.schemas --out schemas/"""


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas of this version by the names of their files."""
    return {
        f"{name}-{version}.schema.json": schema_of(kind, name, version)
        for name, (kind, version) in RECORDS.items()
    }


def folder() -> Path:
    """Return the folder of the schemas in the installed package."""
    return Path(__file__).parent


def _run(arguments: argparse.Namespace) -> None:
    for name, schema in schemas().items():
        path = arguments.out / name
        try:
            write_atomic(path, json_text(schema))
        except OSError as error:
            raise InputError(f"cannot write {path} ({error.strerror}): give another folder", "out") from error
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0 when done, 2 when the input cannot be used."""
    parser = CommandParser(
        "analysis.schemas", "Write the JSON schemas of the files that sweeps and fits leave.", EXAMPLE
    )
    parser.add_argument(
        "--out", type=Path, default=folder(), metavar="FOLDER", help="where to write (default: the package)"
    )
    return parser.answer(argv, _run)


if __name__ == "__main__":
    sys.exit(main())
