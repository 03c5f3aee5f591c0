"""`python -m analysis.plan results/NAME --flops 1e15`: the run to train, with its loss, shape and rates."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.advice import Source, next_steps
from analysis.approaches.parametric import fit_law
from analysis.plan.placement import placement
from analysis.plan.rows import take_rows_of_fit
from analysis.plan.shape import PlannedRun, planned_run
from analysis.plan.text import Answer, Effort, answer_text
from analysis.prediction.demand import demanded_run
from analysis.prediction.predictor import Predictor
from analysis.records.fit import COUNTS
from analysis.records.fits import read_study
from analysis.records.predictions import EffortRecord, PlanRecord, RunRecord
from analysis.table_options import (
    MOST_RESAMPLES,
    add_level,
    add_reading,
    positive_number,
    reading,
    save,
)
from analysis.tables.table import LossTable, load_table
from harness.config.cells_file import cells_text
from harness.execution.devices import Devices
from harness.records.columns import checked_points
from harness.records.command_line import CommandParser, output_file, program_name, recorded, whole_number
from harness.records.errors import InputError
from harness.records.files import read_table, write_atomic
from harness.records.json_files import to_json
from harness.records.number_text import percent, si
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepRecord, read_sweep

# Dense models reach so much: 46 % at 540B (arXiv:2204.02311, table 3), 38 to 43 % at 405B (arXiv:2407.21783,
# section 3.3.2). Small ones reach less, and the plan of a sweep with plan.device counts what they wait for.
ASSUMED_MFU = 0.4
GOALS = {"flops": "flops", "params": "n", "tokens": "d", "loss": "loss"}  # arguments of `Predictor.best`
EXAMPLE = """\
python -m analysis.plan results/chinchilla --flops 1e15 --out plan.yaml
python -m analysis.plan results/chinchilla --loss 1.9 --inference-tokens 1B
python -m analysis.plan losses.csv --map N=params,D=tokens --hours 24 --device h100:8 --price-per-hour 2.5"""


def _parser() -> CommandParser:
    parser = CommandParser("analysis.plan", "Say what to train for a budget, by fitted laws.", EXAMPLE)
    parser.add_argument(
        "table",
        type=Path,
        help="results/<sweep> or its fits.json, a table of finished runs, or its fit by analysis.fit --json",
    )
    for name, what in (
        ("flops", "training compute C, FLOPs"),
        ("params", "size N"),
        ("tokens", "training tokens D"),
        ("loss", "loss to reach, nats per token"),
        ("hours", "wall-clock hours on --device or at --throughput"),
        ("cost", "money to spend at --price-per-hour of one device"),
    ):
        parser.add_argument(f"--{name}", type=positive_number, metavar="X", help=f"goal: {what}")
    parser.add_argument("--device", help="devices that train, such as h100:8")
    parser.add_argument("--mfu", type=float, help=f"share of their peak (assumed {ASSUMED_MFU:g})")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp16", "fp32"), help="of products")
    parser.add_argument(
        "--throughput",
        type=positive_number,
        metavar="FLOPS",
        help="measured FLOP/s, in the place of --device",
    )
    parser.add_argument(
        "--price-per-hour", type=positive_number, metavar="X", help="price of one device for an hour"
    )
    parser.add_argument(
        "--inference-tokens",
        type=positive_number,
        metavar="X",
        help="tokens that the model answers afterwards",
    )
    parser.add_argument("--law", help="a law that speaks alone (default: all that the rows cannot exclude)")
    parser.add_argument(
        "--count", choices=COUNTS, default=COUNTS[0], help="column that holds N in our own tables"
    )
    add_reading(parser)
    parser.add_argument(
        "--resamples", type=whole_number(0, MOST_RESAMPLES), default=400, help="redrawn estimates of each law"
    )
    add_level(parser)
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of starts and draws")
    parser.add_argument(
        "--out", type=output_file, metavar="FILE", help="write the run as a file for +grid=plan"
    )
    parser.add_argument("--json", type=output_file, metavar="OUT", help="write the result here")
    return parser


def _run(arguments: argparse.Namespace, argv: Sequence[str]) -> None:
    if arguments.out is not None and not arguments.table.is_dir():
        raise InputError("--out writes a run of a sweep's recipe and a table came: give results/NAME")
    effort = _effort(arguments)
    goal = _goal(arguments, effort)
    table, record, scored = _read(arguments)
    predictor = _predictor(arguments, table)
    found = predictor.best(**goal)
    answer = Answer(prediction=found, effort=effort, scored_to=scored)
    if arguments.inference_tokens:
        answer = replace(answer, demand=demanded_run(predictor, found.loss.value, arguments.inference_tokens))
    if record is not None:
        run = planned_run(record, table.count, found.n.value, found.flops.value)
        answer = replace(
            answer,
            run=run,
            run_loss=predictor.run(float(run.n), float(run.cell.n_tokens)).loss,
        )
        if effort is not None and effort.devices is not None:
            placed = placement(run.cell.spec, run.cell.n_tokens, effort.devices, effort.mfu)
            answer = replace(answer, placement=placed)
    print(answer_text(answer))
    source = Source.of(arguments, float(table.c.max()), found.flops.value)
    for step in next_steps(answer.warnings, source):
        print(step)
    if record is not None and record.note_on_arms:
        print(f"note: {record.note_on_arms}")
    if answer.run is not None:
        print(_training_line(arguments, answer.run, argv))
    save(arguments.json, to_json(_record(answer)))


def _training_line(arguments: argparse.Namespace, run: PlannedRun, argv: Sequence[str]) -> str:
    """Return how to train a run, or why no sweep will.

    Raises:
        InputError: a file was asked for and no sweep would train what it says.
    """
    if run.epochs <= run.max_epochs:
        return f"to train it: {_command(arguments, run, argv)}"
    most = run.max_epochs * run.cell.n_tokens / run.epochs
    why = (
        f"this run reads the text of the sweep {run.epochs:.2g} times and at most {run.max_epochs:g} are "
        f"allowed: bring more text, or ask for {si(most)} tokens at most"
    )
    if arguments.out is not None:
        raise InputError(f"{why}; nothing was written")
    return f"note: {why}"


def _command(arguments: argparse.Namespace, run: PlannedRun, argv: Sequence[str]) -> str:
    """Return the command that trains a run, and write its file if one was asked for."""
    train = program_name("harness.sweep")
    if arguments.out is None:
        added = " ".join(f"'{each}'" for each in run.overrides)
        return f"{train} --from {SweepFolder(arguments.table).sweep} {added}"
    notes = [f"Made by: {recorded('analysis.plan', argv)}"]
    write_atomic(arguments.out, cells_text(str(arguments.table), [run.entry], notes).encode())
    return f"{train} +grid=plan plan={arguments.out}"


def _effort(arguments: argparse.Namespace) -> Effort | None:
    """Return what trains, if it was named; raises InputError for prices or hours without it."""
    price = arguments.price_per_hour
    if arguments.cost and not price:
        raise InputError("--cost needs the price of one device for an hour: add --price-per-hour 2.5")
    if arguments.device and arguments.throughput:
        raise InputError("--device and --throughput say both how fast runs train: type one of them")
    if arguments.mfu is not None and not 0 < arguments.mfu <= 1:
        raise InputError(f"--mfu is {arguments.mfu:g}: expected a share up to 1 such as {ASSUMED_MFU:g}")
    if arguments.throughput:
        return Effort("at the measured throughput", arguments.throughput, 1, price)
    if arguments.device:
        devices = Devices.parse(arguments.device)
        sheet = devices.accelerator
        if sheet is None:
            raise InputError("--device cpu has no data sheet: type --throughput with the FLOP/s you measured")
        mfu = arguments.mfu or ASSUMED_MFU
        rate = devices.count * sheet.peak(arguments.precision) * mfu
        how = "as typed" if arguments.mfu else "assumed"
        words = f"on {devices} at {percent(mfu, 0)} of their peak, {how}"
        return Effort(words, rate, devices.count, price, devices, arguments.mfu)
    if arguments.hours or arguments.cost or price:
        given = next(name for name in ("hours", "cost", "price_per_hour") if getattr(arguments, name))
        raise InputError(
            f"--{given.replace('_', '-')} needs what trains: add --device h100:8, or --throughput with its "
            "FLOP/s"
        )
    return None


def _goal(arguments: argparse.Namespace, effort: Effort | None) -> dict[str, float]:
    """Return the one goal as an argument of `Predictor.best`."""
    names = [*GOALS, "hours", "cost"]
    given = [name for name in names if getattr(arguments, name) is not None]
    if len(given) != 1:
        all_ = ", ".join(f"--{name}" for name in names)
        got = ", ".join(f"--{name}" for name in given) or "none"
        raise InputError(f"one goal was expected out of {all_}, got {got}: type one")
    (name,) = given
    value = float(getattr(arguments, name))
    if name in GOALS:
        return {GOALS[name]: value}
    assert effort is not None
    hours = value if name == "hours" else value / (effort.count * float(effort.price_per_hour or math.nan))
    return {"flops": 3600 * hours * effort.rate}


def _read(arguments: argparse.Namespace) -> tuple[LossTable, SweepRecord | None, float | None]:
    """Return the runs, the record of their sweep, and how far its predictions were held against runs."""
    path: Path = arguments.table
    if path.name == SweepFolder(path.parent).fits.name and SweepFolder(path.parent).points.exists():
        path = arguments.table = path.parent
    if not path.is_dir():
        loss = take_rows_of_fit(arguments)
        options = reading(arguments) | {"count": arguments.count, "loss": loss}
        return load_table(arguments.table, axes="nd", **options), None, None
    folder = SweepFolder(path)
    if not folder.points.exists():
        raise InputError(f"{folder.points} is not there: give the folder of a finished sweep, or a table")
    points = checked_points(read_table(folder.points), folder.points)
    table = load_table(points, axes="nd", count=arguments.count)
    scored = None
    if folder.fits.exists():
        study = read_study(folder.fits)
        factors = [row.factor for row in study.rollout]
        factors += [cell.factor for score in study.scores for cell in score.cells]
        scored = max(factors, default=None)
    return table, read_sweep(folder.sweep), scored


def _predictor(arguments: argparse.Namespace, table: LossTable) -> Predictor:
    options: dict[str, Any] = {"level": arguments.level, "seed": arguments.seed}
    if arguments.law is None:
        return Predictor.over_laws(table, resamples=arguments.resamples, **options)
    fit = fit_law(table, arguments.law, resamples=arguments.resamples, **options)
    return Predictor.of_fit(fit, table, **options)


def _record(answer: Answer) -> PlanRecord:
    """Return the answer as it is stored."""
    run, effort, flops = None, None, answer.prediction.flops.value
    if answer.run is not None and answer.run_loss is not None:
        spec = answer.run.cell.spec
        run = RunRecord(
            rung=spec.rung,
            d_model=spec.model.d_model,
            n_layers=spec.model.n_layers,
            n=answer.run.n,
            n_tokens=answer.run.cell.n_tokens,
            flops=answer.run.cell.flops,
            loss=answer.run_loss,
            lr=spec.optim.lr.to_dict(),
            epochs=answer.run.epochs,
            overrides=answer.run.overrides,
        )
    if answer.effort is not None:
        hours = answer.effort.hours(flops)
        effort = EffortRecord(answer.effort.rate, hours, answer.effort.cost(hours))
    return PlanRecord(answer.prediction, run, answer.demand, effort, answer.placement, answer.warnings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    return _parser().answer(argv, lambda arguments: _run(arguments, given))


if __name__ == "__main__":
    sys.exit(main())
