"""`python -m analysis.published`: refit the published sets and compare each number with the printed one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis.published.refits import Outcome, refit_set
from analysis.published.registry import SETS, find_set
from analysis.table_options import MOST_RESAMPLES
from harness.records.command_line import CommandParser, output_file, whole_number
from harness.records.errors import InputError
from harness.records.files import write_json

RESAMPLES = 4000  # as many as Besiroglu et al. took, arXiv:2404.10102
FEWEST_RESAMPLES = 100  # bootstrap refits that a standard error needs


def _parser() -> CommandParser:
    parser = CommandParser(
        "analysis.published",
        "Refit published scaling data and compare the results with the printed numbers.",
        "python -m analysis.published gadre",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="sets, all of them when none is named")
    parser.add_argument(
        "--resamples",
        type=whole_number(FEWEST_RESAMPLES, MOST_RESAMPLES),
        default=RESAMPLES,
        help="bootstrap refits of Chinchilla",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of starts and resamples")
    parser.add_argument("--json", type=output_file, metavar="OUT", help="write the comparisons here")
    return parser


def _lines(outcome: Outcome) -> list[str]:
    """Return the lines of one set."""
    dataset = outcome.dataset
    head = f"{dataset.name}  {dataset.title} ({dataset.reference})"
    if outcome.note:
        return [head, f"  {outcome.note}"]
    width = max(len(row.quantity) for row in outcome.comparisons)
    lines = [head, f"  {'quantity':{width}}  {'published':>12}  {'obtained':>12}  tolerance"]
    for row in outcome.comparisons:
        published = "" if row.published is None else f"{row.published:.6g}"
        numbers = f"{published:>12}  {row.obtained:12.6g}"
        lines.append(f"  {row.quantity:{width}}  {numbers}  {row.allowed:9}  {row.verdict}")
    return lines


def _closing(outcomes: Sequence[Outcome]) -> str:
    """Return how many numbers are inside their tolerance, and the sets without a comparison."""
    compared, off = (sum(getattr(each, name) for each in outcomes) for name in ("compared", "off"))
    without = [each.dataset.name for each in outcomes if each.note]
    text = f"{compared - off} of {compared} compared numbers are inside their tolerance"
    return text + (f"; not compared: {', '.join(without)}" if without else "")


def _run(arguments: argparse.Namespace) -> int:
    chosen = [find_set(name) for name in arguments.names] or list(SETS)
    outcomes = []
    for dataset in chosen:
        outcome = refit_set(dataset, arguments.resamples, arguments.seed, required=bool(arguments.names))
        print("\n".join(_lines(outcome)), end="\n\n", flush=True)
        outcomes.append(outcome)
    print(_closing(outcomes))
    if arguments.json:
        content = {
            "resamples": arguments.resamples,
            "seed": arguments.seed,
            "sets": [outcome.to_dict() for outcome in outcomes],
        }
        try:
            write_json(arguments.json, content)
        except OSError as error:
            raise InputError(f"cannot write {arguments.json}: {error.strerror}") from error
    return int(any(outcome.off for outcome in outcomes))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 if all numbers agree, 1 if some do not, 2 for wrong input."""
    return _parser().answer(argv, _run)


if __name__ == "__main__":
    sys.exit(main())
