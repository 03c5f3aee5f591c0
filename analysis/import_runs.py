"""`python -m analysis.import_runs LOGS --out runs.csv`: runs of other programs into tables of ours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from analysis.table_options import parse_pairs
from analysis.tables.loss_scale import NATS, SCALES, read_loss_scale
from analysis.tables.names import listed
from analysis.trackers.imported import NOISY_SHARE, ImportedTables, Reading, import_tables
from analysis.trackers.record import SCHEMA, ImportRecord, SourceFile
from analysis.trackers.source import KINDS, describe, read_source
from analysis.trackers.tracked import TrackedRun, merged
from analysis.trackers.units import Given
from harness.records.command_line import CommandParser, output_file, program_name, recorded
from harness.records.errors import InputError
from harness.records.files import write_atomic
from harness.records.json_files import write_record

DEFAULT_OUT = "runs.csv"
EXAMPLE = """\
python -m analysis.import_runs wandb_export.csv --params small=7e7,large=3e8 --tokens-per-step 524288
python -m analysis.import_runs logs/ --params-from '(\\d+M)' --tokens-per-step 524288 --out tensorboard.csv
python -m analysis.import_runs mlruns --params n_params --tokens-per-step 'batch_size*seq_len'
python -m analysis.import_runs train-*.log && python -m analysis.fit runs.csv"""


def _parser() -> CommandParser:
    parser = CommandParser(
        "analysis.import_runs",
        "Write end points and curves of runs that other programs logged as tables for fits and forecasts.",
        EXAMPLE,
    )
    parser.add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help=KINDS)
    parser.add_argument(
        "--out", type=output_file, default=Path(DEFAULT_OUT), metavar="FILE",
        help=f"end points (default {DEFAULT_OUT}); curves and the record of the import lie beside",
    )  # fmt: skip
    parser.add_argument("--runs", metavar="NAME", help="runs to take, such as 'd12*' (default: all)")
    parser.add_argument("--loss", metavar="METRIC", help="metric that is the loss (default: found by name)")
    parser.add_argument("--loss-is", metavar="SCALE", help=f"unit of the loss: {SCALES}")
    parser.add_argument("--lr", metavar="METRIC", help="metric that is the learning rate")
    parser.add_argument(
        "--tokens",
        metavar="METRIC",
        help="metric that counts training tokens, or those of a run: 2e9, RUN=2e9,…",
    )
    parser.add_argument(
        "--tokens-per-step", metavar="X", help="tokens of a step: 524288, RUN=524288,…, or batch_size*seq_len"
    )
    parser.add_argument("--params", metavar="N", help="parameters: 7e7, RUN=7e7,…, or the name of a setting")
    parser.add_argument(
        "--params-from", metavar="REGEX", help="parameters in the names of runs: '(\\d+M)' finds 70M"
    )
    parser.add_argument(
        "--end-share", type=float, metavar="SHARE",
        help=f"last steps that an end point averages (default 0; {NOISY_SHARE:g} for losses of training)",
    )  # fmt: skip
    parser.add_argument("--every", action="store_true", help="each logged loss is an end point")
    return parser


def _pairs(text: str | None, option: str, example: str) -> Given:
    return parse_pairs(text, option, example) if text and "=" in text else text


def _reading(arguments: argparse.Namespace) -> Reading:
    share = arguments.end_share
    if share is not None and not 0 <= share < 1:
        raise InputError(f"--end-share is {share:g}: expected a share from 0 on and below 1, such as 0.01")
    if arguments.every and share:
        raise InputError("--every takes each loss as it is: leave --end-share out")
    return Reading(
        loss=arguments.loss,
        lr=arguments.lr,
        tokens=_pairs(arguments.tokens, "--tokens", "RUN=2e9"),
        loss_scale=read_loss_scale(arguments.loss_is),
        params=_pairs(arguments.params, "--params", "RUN=7e7"),
        params_from=arguments.params_from,
        tokens_per_step=_pairs(arguments.tokens_per_step, "--tokens-per-step", "RUN=524288"),
        end_share=share,
        every=arguments.every,
    )


def _read(arguments: argparse.Namespace) -> list[TrackedRun]:
    runs = merged([run for source in arguments.sources for run in read_source(source)])
    chosen = [run for run in runs if arguments.runs is None or fnmatchcase(run.name, arguments.runs)]
    if not chosen:
        names = listed(run.name for run in runs)
        raise InputError(f"no run is called {arguments.runs!r}: there are {names}", "runs")
    return chosen


def _outputs(arguments: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Return the paths of end points, curves and record; refuse to overwrite what is not from here."""
    ends: Path = arguments.out if arguments.out.suffix else arguments.out.with_suffix(".csv")
    curves, record = ends.with_suffix(".curves.csv"), ends.with_suffix(".import.json")
    # Not Path.resolve, which fails if links lead in a circle.
    sources = {os.path.realpath(source) for source in arguments.sources}
    for path in (ends, curves):
        if os.path.realpath(path) in sources or (path.exists() and not record.exists()):
            raise InputError(f"{path} is there already and no import wrote it: give another --out")
    return ends, curves, record


def _run(arguments: argparse.Namespace, argv: Sequence[str]) -> None:
    reading = _reading(arguments)
    ends, curves, record = _outputs(arguments)
    runs = _read(arguments)
    found = import_tables(runs, reading)
    files = tuple(file for source in arguments.sources for file in describe(source))
    # The record first: with it there, a later import may replace the tables.
    write_record(record, _record(found, files, arguments.loss_is or NATS, argv))
    write_atomic(ends, found.ends.to_csv(index=False))
    if len(found.curves):
        write_atomic(curves, found.curves.to_csv(index=False))
    print(_said(found, len(files), (ends, curves, record)))


def _record(
    found: ImportedTables, files: tuple[SourceFile, ...], unit: str, argv: Sequence[str]
) -> ImportRecord:
    return ImportRecord(
        schema=SCHEMA,
        command=recorded("analysis.import_runs", argv),
        loss=found.metrics.loss,
        loss_unit=unit,
        loss_of=found.metrics.loss_of,
        end_share=found.end_share,
        lr=found.metrics.lr,
        tokens=found.metrics.tokens,
        files=files,
        runs=found.runs,
        left_out=found.left_out,
    )


def _said(found: ImportedTables, n_files: int, paths: tuple[Path, Path, Path]) -> str:
    """Return what was read as what, and what to type next."""
    ends, curves, record = paths
    table = found.ends
    size, tokens = (f"{table[name].min():.3g} to {table[name].max():.3g}" for name in ("N", "D"))
    averaged = f", mean of the last {found.end_share:.1%} of steps" if found.end_share else ""
    lines = [
        f"{len(found.runs)} runs of {n_files} files, {len(table)} end points: N {size}, D {tokens}, loss "
        f"{table['loss'].min():.4g} to {table['loss'].max():.4g}",
        f"read as: loss = {found.metrics.loss} ({found.metrics.loss_of} data{averaged}); N = "
        f"{_alike(run.n_from for run in found.runs)}; D = {_alike(run.tokens_from for run in found.runs)}",
    ]
    lines += [f"left out: {each.run} ({each.reason})" for each in found.left_out]
    replaced = [run.run for run in found.runs if run.replaced]
    if replaced:
        lines.append(f"restarted, later rows kept: {', '.join(replaced)}")
    if any(run.averaged for run in found.runs):
        lines.append("rows are means, as W&B exports long or grouped charts: ends may lie off by their noise")
    mapped = " --map cluster=run" if len(table) > len(found.runs) else ""
    lines.append(f"written: {ends}{f', {curves}' if len(found.curves) else ''}, {record}")
    lines.append(f"next: {program_name('analysis.fit')} {ends}{mapped}")
    if len(found.curves):
        rates = "" if "lr" in found.curves else " --schedule cosine"
        lines.append(f"      {program_name('analysis.curves')} {curves}{rates}")
    return "\n".join(lines)


def _alike(texts: Iterable[str]) -> str:
    found = list(dict.fromkeys(texts))
    return found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} other ways"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0 when done, 2 when the input cannot be used."""
    given = list(sys.argv[1:] if argv is None else argv)
    return _parser().answer(given, lambda arguments: _run(arguments, given))


if __name__ == "__main__":
    sys.exit(main())
