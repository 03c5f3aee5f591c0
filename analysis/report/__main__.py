"""The command `python -m analysis.report`: one HTML file that needs no network, and figures as PNG and SVG.

python -m analysis.report results/chinchilla
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.cli import answer
from analysis.report.build import write_report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__.split("\n")[0])
    parser.add_argument(
        "folder", type=Path, help="folder of a finished sweep, for example results/chinchilla"
    )
    arguments = parser.parse_args(argv)
    return answer(lambda: print(write_report(arguments.folder)))


if __name__ == "__main__":
    sys.exit(main())
