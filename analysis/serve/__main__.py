"""`python -m analysis.serve [results]`: local web pages of all sweeps below a folder, until Ctrl-C.

The server listens on the loopback address alone and only reads. Exit codes: 0 after Ctrl-C; 2 wrong input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.serve.server import Server
from analysis.serve.site import Site
from harness.records.command_line import CommandParser

EXAMPLE = """\
python -m analysis.serve results
python -m analysis.serve results/replications --port 8000"""
LARGEST_PORT = 65_535


def port_number(text: str) -> int:
    """Return the number of a port; raise ArgumentTypeError if it is none."""
    if not text.isascii() or not text.isdigit() or int(text[:6]) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {LARGEST_PORT}, got {text!r}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = CommandParser(
        "analysis.serve",
        "Show all sweeps below a folder as local web pages: states, headlines, curves and where they end.",
        EXAMPLE,
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("results"), help="folder of sweeps (default: results)"
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=0,
        metavar="PORT",
        help="port to listen on (default: a free one)",
    )
    return parser.answer(argv, _serve)


def _serve(options: argparse.Namespace) -> int:
    try:
        site = Site(options.folder)
        with Server(site, options.port) as server:
            n = site.n_sweeps
            print(f"{n} sweep{'' if n == 1 else 's'} of {options.folder} at {server.address}", flush=True)
            print("Ctrl-C ends it; files are only read", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print()  # The terminal shows ^C in the same line.
    return 0


if __name__ == "__main__":
    sys.exit(main())
