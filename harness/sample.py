"""`python -m harness.sample results/<sweep> [--run ID] [--prompt TEXT]`: let a trained model write.

Text appears as it is drawn, and ends with the document or after `--tokens` tokens.
Exit codes: 0 done, 2 wrong input.
"""

from __future__ import annotations

import argparse
import sys

from harness.records.command_line import CommandParser, add_model
from harness.weights.run import load_run, say_if_better

KEPT_CONTROL = "\n\t"  # control characters that a terminal may obey


def shown(text: str) -> str:
    r"""Return a text with `?` for what a terminal would obey, except line ends and tabs.

    >>> shown("a\tµ\n\x1b[2J")
    'a\tµ\n?[2J'
    """
    return "".join(c if c.isprintable() or c in KEPT_CONTROL else "?" for c in text)


def sample(given: argparse.Namespace) -> None:
    """Print the prompt and what the model writes after it."""
    run = load_run(given.folder, given.run)
    say_if_better(given.folder, given.run, run.card)
    pieces = run.sample(
        given.prompt,
        n_tokens=given.n_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        seed=given.seed,
    )
    print(shown(given.prompt), end="", flush=True)
    for piece in pieces:
        print(shown(piece), end="", flush=True)
    print()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser(
        "harness.sample",
        "Let a trained model of a sweep write text.",
        "python -m harness.sample results/mine --run d96 --prompt 'def ' --temperature 0.8",
    )
    add_model(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="beginning of the text (default: none)")
    parser.add_argument(
        "--tokens", type=int, default=256, dest="n_tokens", help="largest number of tokens (default: 256)"
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="0 takes the likeliest token (default: 1)"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        help="draw from the likeliest tokens that together have this probability (default: 1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    return parser.answer(arguments, sample)


if __name__ == "__main__":
    sys.exit(main())
