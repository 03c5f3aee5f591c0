"""The command `python -m analysis.fit TABLE`: fit laws to a table and print what came out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.advice import Source, next_steps
from analysis.approaches.everything import APPROACHES, Progress, fit_approach, unheard
from analysis.approaches.one_axis import fit_other_axis, shared_axis
from analysis.contest.objections import table_wide
from analysis.contest.recommended import compare_approaches, counted_tables
from analysis.contest.text import comparison_text
from analysis.laws import axes_of
from analysis.prediction.answers import NO_ANSWERS, Answers, Asked
from analysis.prediction.questions import EXAMPLES, parse_questions
from analysis.records.fit import COUNTS
from analysis.records.fits import read_study
from analysis.result import Fit
from analysis.solve.problem import ESTIMATORS
from analysis.study.study import study_table
from analysis.table_options import MOST_RESAMPLES, add_level, add_reading, origin_of, reading, save
from analysis.tables.columns import OWN_KEYS, columns_of_n
from analysis.tables.frames import FORMATS, read_frame
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.bootstrap import KINDS
from harness.records.command_line import CommandParser, output_file, whole_number
from harness.records.errors import InputError
from harness.records.json_files import to_json
from harness.records.paths import SweepFolder

DEFAULT_LAW = "chinchilla"
EXAMPLE = """\
python -m analysis.fit losses.csv --map N=params,D=tokens,loss=val_loss --approach all
python -m analysis.fit losses.csv --predict C=1e24,3e24 --predict N=7B,D=2T --report losses.html
python -m analysis.fit results/chinchilla/points.parquet --law joint --json fit.json"""


def _parser() -> CommandParser:
    command = CommandParser(
        "analysis.fit", "Fit scaling laws to a table of losses and print the result.", EXAMPLE
    )
    command.add_argument("table", type=Path, help=f"{FORMATS}, one row a finished run")
    command.add_argument(
        "--law",
        help="which law (a wrong name lists them); by default that of the sweep beside its own table, else "
        f"{DEFAULT_LAW}",
    )
    command.add_argument(
        "--approach",
        default="parametric",
        choices=(*APPROACHES, "all"),
        help="all compares them, with a contest of laws, and marks the row to quote",
    )
    command.add_argument("--estimator", default="huber", help=f"one of {', '.join(ESTIMATORS)}")
    command.add_argument("--count", default=COUNTS[0], help="column that holds N in our own tables")
    command.add_argument("--loss", default="loss", help="column that holds the loss")
    add_reading(
        command,
        "N=params,D=tokens,loss=val,C=flops; perplexity=ppl takes its logarithm; N=total|body compares two "
        "counts with --approach all; C= or status= leaves a column out; a name with a comma stands in quotes",
    )
    command.add_argument(
        "--resamples", type=whole_number(0, MOST_RESAMPLES), default=1000, help="bootstrap refits, 0 for none"
    )
    command.add_argument(
        "--bootstrap", dest="kind", default=KINDS[0], help=f"what is drawn: {' or '.join(KINDS)}"
    )
    add_level(command)
    command.add_argument(
        "--seed", type=whole_number(0), default=0, help="of random starts and of the bootstrap"
    )
    command.add_argument(
        "--predict",
        action="append",
        default=[],
        metavar="QUESTION",
        help="what a budget buys, or where a run ends, over laws that the rows allow or by --law: "
        f"{EXAMPLES}; may be given several times",
    )
    command.add_argument(
        "--accuracy",
        metavar="COLUMN",
        help="accuracy of each run, a share: predicted as the loss is",
    )
    command.add_argument(
        "--chance", type=float, help="accuracy of guessing; fitted as the floor of --accuracy if left out"
    )
    command.add_argument(
        "--report", type=output_file, metavar="OUT.html", help="write figures, tables and answers as a page"
    )
    command.add_argument("--json", type=output_file, metavar="OUT", help="write the result here")
    return command


def _run(arguments: argparse.Namespace) -> None:
    if arguments.kind != KINDS[0] and arguments.approach != "parametric":
        raise InputError(
            f"--bootstrap {arguments.kind} belongs to --approach parametric, got {arguments.approach}: "
            "leave it out"
        )
    asked = Asked(parse_questions(arguments.predict), arguments.accuracy, arguments.chance)
    if asked.accuracy and not asked.questions:
        raise InputError("--accuracy is predicted for questions, and none was asked: add --predict C=1e24")
    if arguments.chance is not None and not (asked.accuracy and 0 <= arguments.chance < 1):
        raise InputError(
            f"--chance is {arguments.chance:g}: expected a share from 0 to below 1, beside --accuracy COLUMN"
        )
    if asked.questions and arguments.approach not in ("parametric", "all"):
        raise InputError(
            f"--predict needs a law of the loss, and --approach {arguments.approach} fits none: leave it out"
        )
    text, result = (every if arguments.approach == "all" else one)(arguments, asked)
    print(text)
    save(arguments.json, result)
    if arguments.report:
        print(f"report: {_report(arguments, asked)}")


def _progress() -> Progress:
    """Return what writes each step with the seconds so far to standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        return unheard
    began = time.monotonic()
    return lambda text: print(f"{time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)


def _table(arguments: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table as it is in the file, and how `load_table` is to read it."""
    options = reading(arguments) | {"count": arguments.count, "loss": arguments.loss}
    return read_frame(arguments.table), options


def starting_law(arguments: argparse.Namespace, frame: pd.DataFrame) -> tuple[str, list[str]]:
    """Return the law to fit, and for a sweep's own table a line that says where it comes from.

    Without a named law it is the one that the sweep chose, with its limits; else DEFAULT_LAW.
    """
    if arguments.law is not None:
        return arguments.law, []
    if not set(OWN_KEYS) <= set(frame.columns):
        return DEFAULT_LAW, []
    path = SweepFolder(arguments.table.parent).fits
    try:
        study = read_study(path) if path.exists() else None
    except InputError as error:
        return DEFAULT_LAW, [f"law: {DEFAULT_LAW}, because {error}"]
    primary = study.primary if study else None
    if study is None or primary is None:
        why = "names no law" if path.exists() else "is not there"
        return DEFAULT_LAW, [f"law: {DEFAULT_LAW}, because {path}, which holds the law of a sweep, {why}"]
    which = "the fitted runs chose and all runs exclude" if study.choice_excluded else "the sweep chose"
    return primary.law, [f"law: {primary.law}, which {which} ({path}); --law names another"]


def one(arguments: argparse.Namespace, asked: Asked) -> tuple[str, Any]:
    """Return text and JSON of one approach, with the answers to questions."""
    frame, options_of_table = _table(arguments)
    law, said = starting_law(arguments, frame)
    mapping = options_of_table["mapping"]
    if len(columns_of_n(frame, mapping)) > 1:
        raise InputError(f"--map has several columns for N, {mapping['N']}: type one, or --approach all")
    axes = {"parametric": axes_of(law), "kaplan": ""}.get(arguments.approach, "nd")
    table = load_table(frame, axes=axes, **options_of_table)
    options = {"level": arguments.level, "resamples": arguments.resamples, "seed": arguments.seed}
    kind = arguments.kind
    parametric = arguments.approach == "parametric"
    what = law if parametric else arguments.approach
    _progress()(f"{what} on {len(table)} rows, {arguments.resamples} resamples")
    shared = shared_axis(table) if parametric and arguments.law is None else None
    if shared:
        fits, warning = fit_other_axis({table.count: table}, shared, arguments.level, arguments.seed)
        said = [warning.message]
    if not shared or not fits:
        fits = fit_approach(table, arguments.approach, law, arguments.estimator, **options, kind=kind)
    entries = to_json([fit.to_record() for fit in fits])
    entries[0]["table"] = origin_of(arguments)
    source = _source(arguments, table)
    steps = next_steps(fits[0].warnings, replace(source, largest=None) if shared else source)
    text = "\n".join(["\n\n".join(fit.summary() for fit in fits), *steps])
    if asked.questions:
        if shared:
            raise InputError(f"no run can be predicted: {said[0]}")
        alone = fits[0] if arguments.law is not None else None
        found = _answered(arguments, frame, table, asked, alone)
        entries[0] |= found.to_json()
        text += _answers_text(found, source)
    text = "\n".join([*(said if parametric else ()), text])
    return text, entries if len(entries) > 1 else entries[0]


def _answered(
    arguments: argparse.Namespace, frame: pd.DataFrame, table: LossTable, asked: Asked, alone: Fit | None
) -> Answers:
    """Return the answers, by one fit or over the laws that the rows cannot exclude."""
    options = {"resamples": arguments.resamples, "level": arguments.level, "seed": arguments.seed}
    return asked.answered(frame, table, alone, **options)


def _answers_text(found: Answers, source: Source) -> str:
    """Return the answers, and what to do about the warnings of the farthest one that has any."""
    doubted = [each for each in found.predictions if each.warnings]
    farthest = max(doubted, key=lambda each: each.factor, default=None)
    steps = (
        []
        if farthest is None
        else next_steps(farthest.warnings, replace(source, target=farthest.flops.value))
    )
    return "\n".join(["\n", found.text, *steps])


def _report(arguments: argparse.Namespace, asked: Asked) -> Path:
    """Write the page of the table, with the answers over the laws that its rows cannot exclude."""
    # Imported here: a fit alone starts half a second sooner without figures.
    from analysis.report.table import write_table_report

    frame, options = _table(arguments)
    tables = counted_tables(frame, axes="", **options)
    table = next(iter(tables.values()))
    _progress()("the study behind the report")
    study = study_table(tables, resamples=arguments.resamples, level=arguments.level, seed=arguments.seed)
    about = {"table": str(arguments.table), "rows": str(len(table)), "read as": table.read_as or "a sweep"}
    found = _answered(arguments, frame, table, asked, None) if asked.questions else NO_ANSWERS
    write_table_report(
        arguments.report,
        arguments.table.stem,
        tables,
        study,
        about=about,
        answers=found,
        source=_source(arguments, table),
    )
    return Path(arguments.report)


def _source(arguments: argparse.Namespace, table: LossTable) -> Source:
    """Return how commands name the runs of a table."""
    return Source.of(arguments, None if table.absent else float(table.c.max()))


def every(arguments: argparse.Namespace, asked: Asked) -> tuple[str, Any]:
    """Return text and JSON of all approaches, with the answers to questions."""
    frame, options_of_table = _table(arguments)
    law, said = starting_law(arguments, frame)
    tables = counted_tables(frame, axes="", **options_of_table)
    found = compare_approaches(
        tables,
        law,
        estimator=arguments.estimator,
        resamples=arguments.resamples,
        level=arguments.level,
        seed=arguments.seed,
        progress=_progress(),
    )
    entries = to_json(found.to_records())
    entries[found.recommended or 0]["table"] = origin_of(arguments)
    source = _source(arguments, next(iter(tables.values())))
    warned = table_wide(found.fits[0].warnings)
    if found.recommended is not None:
        warned = [*found.fits[found.recommended].warnings]
    text = "\n".join([*said, comparison_text(found), *next_steps(warned, source)])
    if asked.questions:
        answered = _answered(arguments, frame, next(iter(tables.values())), asked, None)
        entries[found.recommended or 0] |= answered.to_json()
        text += _answers_text(answered, source)
    return text, entries


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0 when done, 2 when the input cannot be used."""
    return _parser().answer(argv, _run)


if __name__ == "__main__":
    sys.exit(main())
