"""`python -m analysis.design results/NAME --next 6 --spend 2e13 --target 1e15`: what to train next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.advice import AHEAD
from analysis.approaches.parametric import fit_law
from analysis.design.choose import Choice, choose
from analysis.design.expected import NORMAL_90, ExpectedErrors, Target, expect, truth_of
from analysis.design.files import write_grid, write_runs
from analysis.design.information import Cells, Information
from analysis.design.runs import COOLDOWN, ForeignRuns, Runs, SweepRuns, read_folder
from analysis.design.text import choice_text, errors_text
from analysis.frontier import six_nd_exponents, table_cost
from analysis.records.fit import COUNTS
from analysis.solve.problem import ESTIMATORS
from analysis.table_options import MOST_RESAMPLES, add_reading, positive_number, reading, save
from analysis.tables.table import load_table
from harness.records.command_line import CommandParser, output_file, program_name, recorded, whole_number
from harness.records.errors import InputError
from harness.records.json_files import to_json

MOST_CELLS = 50  # choosing takes the cube of their number
EXAMPLE = """\
python -m analysis.design results/chinchilla --target 1e15
python -m analysis.design results/chinchilla --next 6 --spend 2e13 --target 6e14 --out more.yaml
python -m analysis.design losses.csv --map N=params,D=tokens,loss=val --next 4 --spend 1e20 --target 1e21"""


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(sorted({positive_number(part) for part in text.split(",")}))


def _parser() -> CommandParser:
    parser = CommandParser(
        "analysis.design", "Say what runs will tell about a law, and which to train next.", EXAMPLE
    )
    parser.add_argument("table", type=Path, help="results/<sweep>, or a table of finished runs")
    parser.add_argument(
        "--target",
        type=positive_number,
        metavar="C",
        help=f"FLOPs of a run ahead (default {AHEAD:g} × the largest)",
    )
    parser.add_argument(
        "--next", type=whole_number(1, MOST_CELLS), metavar="K", help="choose up to K further cells"
    )
    parser.add_argument(
        "--spend", type=positive_number, metavar="FLOPS", help="training FLOPs of all at most"
    )
    parser.add_argument(
        "--max-flops",
        type=positive_number,
        metavar="FLOPS",
        help="compute of each of them at most (the target's)",
    )
    parser.add_argument("--sizes", type=_numbers, metavar="N,…", help="sizes to choose from, foreign tables")
    parser.add_argument("--tokens", type=_numbers, metavar="D,…", help="token counts to choose from")
    parser.add_argument(
        "--cooldown", type=float, default=COOLDOWN, help="share of a branch that is its own, foreign tables"
    )
    parser.add_argument(
        "--out", type=output_file, metavar="FILE", help="write the cells: a grid file or a table"
    )
    parser.add_argument("--law", help="law taken for true (default: that of the sweep, or of largest weight)")
    parser.add_argument("--estimator", default="huber", help=f"one of {', '.join(ESTIMATORS)}")
    parser.add_argument("--count", default=COUNTS[0], help="column that holds N in our own tables")
    parser.add_argument("--loss", default="loss", help="column that holds the loss")
    add_reading(parser)
    parser.add_argument(
        "--resamples",
        type=whole_number(0, MOST_RESAMPLES),
        default=200,
        help="bootstrap refits beside what is expected",
    )
    parser.add_argument("--json", type=output_file, metavar="OUT", help="write the result here")
    return parser


def _run(arguments: argparse.Namespace, argv: Sequence[str]) -> None:
    _check(arguments)
    runs = _runs(arguments)
    truth = truth_of(runs.table, runs.law if arguments.law is None else arguments.law)
    information = Information(truth, Cells.of(runs.table), arguments.estimator)
    flops = arguments.target or AHEAD * float(runs.table.c.max())
    found = expect(information, target=flops, cost=table_cost(runs.table))
    if arguments.next is None:
        measured = _measured(arguments, runs, information, found.target)
        print(errors_text(found, measured, runs.name))
        save(arguments.json, {"expected": to_json(found), "bootstrap": measured})
        return
    choice = _choice(arguments, runs, information, found)
    print(choice_text(choice, arguments.spend, runs.notes))
    _write(arguments, runs, choice, argv)
    save(arguments.json, {"expected": to_json(found), "choice": to_json(choice)})


def _check(arguments: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    if (arguments.next is None) != (arguments.spend is None):
        given, lacking = ("--spend", "--next 6") if arguments.next is None else ("--next", "--spend 1e15")
        raise InputError(f"{given} was given alone, and cells are chosen by number and FLOPs: add {lacking}")
    if arguments.next is not None and arguments.target is None:
        raise InputError("--next chooses cells for a loss ahead: add --target with its FLOPs, such as 1e21")
    if arguments.next is None and arguments.out is not None:
        raise InputError("--out writes chosen cells and none are chosen: add --next 6 --spend FLOPS")
    if not 0 < arguments.cooldown <= 1:
        raise InputError(
            f"--cooldown is {arguments.cooldown:g}: expected a share up to 1 such as {COOLDOWN:g}"
        )


def _runs(arguments: argparse.Namespace) -> Runs:
    if arguments.table.is_dir():
        if arguments.sizes is not None:
            raise InputError(
                "--sizes belongs to foreign tables, and the rungs of a sweep are its own: leave it out"
            )
        return read_folder(arguments.table, arguments.count)
    options = reading(arguments) | {"count": arguments.count, "loss": arguments.loss}
    table = load_table(arguments.table, axes="nd", **options)
    return ForeignRuns(
        table=table,
        law=None,
        name=str(arguments.table),
        given_sizes=arguments.sizes,
        given_ends=arguments.tokens,
        cooldown=arguments.cooldown,
    )


def _choice(
    arguments: argparse.Namespace, runs: Runs, information: Information, found: ExpectedErrors
) -> Choice:
    assert found.target is not None
    sizes = runs.sizes(found.target.n)
    ends = runs.ends(found.target.d)
    if arguments.tokens is not None:
        ends = [end for end in ends if any(abs(end / asked - 1) < 0.05 for asked in arguments.tokens)]
    trunks = runs.with_new(sizes, arguments.next)
    return choose(
        information, found.target, trunks, ends, arguments.next, arguments.spend, arguments.max_flops
    )


def _write(arguments: argparse.Namespace, runs: Runs, choice: Choice, argv: Sequence[str]) -> None:
    if arguments.out is None:
        return
    if isinstance(runs, SweepRuns):
        write_grid(arguments.out, choice, runs.name, recorded("analysis.design", argv))
        print(f"to train them: {program_name('harness.sweep')} +grid=cells cells={arguments.out}")
    else:
        write_runs(arguments.out, choice)
        print(f"written to {arguments.out}: N, D and FLOPs of each run")


def _measured(
    arguments: argparse.Namespace, runs: Runs, information: Information, target: Target | None
) -> dict[str, float | None]:
    """Return the standard errors that the bootstrap of the fit shows: the width of its 90 % over 3.29."""
    truth = information.truth
    fit = fit_law(runs.table, truth.law.name, resamples=arguments.resamples, estimator=arguments.estimator)
    if fit.samples is None:
        return {}
    draws = {name: fit.samples[:, position] for position, name in enumerate(truth.law.params)}
    draws["a"] = six_nd_exponents(truth.law, fit.samples, runs.table)
    if target is not None:
        place = (np.array([value]) for value in (target.n, target.d, target.flops))
        draws["loss"] = np.log(truth.law.value(fit.samples, *place))[:, 0]
    return {
        name: float(np.diff(np.quantile(values, [0.05, 0.95]))[0] / (2 * NORMAL_90)) * fit.stretch
        for name, values in draws.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    return _parser().answer(argv, lambda arguments: _run(arguments, given))


if __name__ == "__main__":
    sys.exit(main())
