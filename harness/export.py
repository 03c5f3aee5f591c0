"""`python -m harness.export results/<sweep> [--run ID] --to DIR`: write a trained model for other programs.

The folder holds `model.safetensors`, `config.json` and `tokenizer.json`. `harness.sample`,
`harness.evaluate` and `load_run` take it in place of a sweep's folder.
Exit codes: 0 done, 2 wrong input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.records.command_line import CommandParser, add_model
from harness.weights.export import export

OWN, LIBRARY = "harness", "transformers"


def write(given: argparse.Namespace) -> None:
    """Export the model and print the files."""
    for path in export(given.folder, given.run, given.target, library=given.format == LIBRARY):
        print(path)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser(
        "harness.export",
        "Write a trained model of a sweep for other programs: parameters, configuration, tokenizer.",
        "python -m harness.export results/mine --run d96 --to models/d96",
    )
    add_model(parser)
    parser.add_argument(
        "--to", type=Path, required=True, dest="target", metavar="DIR", help="folder to write"
    )
    parser.add_argument(
        "--format",
        choices=(OWN, LIBRARY),
        default=OWN,
        help="harness: the same bits, for these commands; transformers: for its Qwen3 or Llama class, if the "
        "model has model.mlp=swiglu and model.key_shift=false (default: harness)",
    )
    return parser.answer(arguments, write)


if __name__ == "__main__":
    sys.exit(main())
