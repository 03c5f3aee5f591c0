"""`python -m harness.sweep +grid=NAME [overrides]`: plan, train, collect, fit, report.

The same command again skips finished cells, resumes interrupted runs from their checkpoints, and trains only
new cells.
Exit codes: 0 done, 1 some runs failed, 2 wrong input, 130 interrupted with the state saved.
"""

from __future__ import annotations

import argparse
import sys

from harness.config.cells_file import take_file
from harness.config.overrides import groups, without_control
from harness.config.settings import Loaded, known_keys, load_noted, options, resolved_yaml
from harness.execution.devices import KNOWN
from harness.launch.ending import interruptible
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.sweep.record import read_record
from harness.sweep.sweep import Sweep
from harness.track.console import plain_console

KEYS = """\
  +grid=NAME       one of: {grids}
  budget=NAME      quick (default), standard or full, where the grid has them
  dry_run=true     print the plan and stop; needs neither the devices, nor their memory, nor Slurm or Ray.
                   It prepares the text in the cache, as training does, and writes nothing into results_dir
  plan.device=KIND:NUMBER
                   plan for these devices, all together; kinds are
                   {devices}.
                   plan.price_per_hour=PRICE, of one device, adds the cost, plan.mfu=SHARE a measured speed.
                   Without dry_run=true only the printed estimate is for them: training takes the devices
                   that are here, or that the launcher asks for
  results_dir=DIR  folder of tables and report (default results/NAME)
  any other key    as --cfg prints them, for example model.seq_len=256 grid.seeds=[0,1]"""
EXAMPLE = """\
python -m harness.sweep +grid=chinchilla budget=standard dry_run=true
python -m harness.sweep +grid=chinchilla dry_run=true plan.device=h100:8 plan.price_per_hour=2.5
python -m harness.sweep +grid=smoke grid.seeds=[0,1] model.seq_len=256 data=text data.path=my_texts/"""


def command_parser() -> CommandParser:
    """Return the argument parser of the command."""
    parser = CommandParser(
        "harness.sweep",
        "Train a grid of language models, fit scaling laws to their losses, and write a report.",
        EXAMPLE,
        known_keys(),
        completed_words(),
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of the configuration")
    parser.add_argument_group("keys", KEYS.format(grids=", ".join(options("grid")), devices=", ".join(KNOWN)))
    parser.add_argument(
        "--from",
        dest="record",
        metavar="FILE",
        help="take the configuration of a sweep.json, except its launcher, in place of a grid; keys on the "
        "command line win",
    )
    parser.add_argument("--cfg", action="store_true", help="print the whole configuration and stop")
    return parser


def completed_words() -> list[str]:
    """Return what a shell completes: every key with its sign of equality, and groups with their options."""
    keys = known_keys()
    inner = {key.rpartition(".")[0] for key in keys}
    found = [f"{key}=" for key in keys if key not in inner]
    for group in groups():
        # A grid is none of the defaults, so it is added to them.
        sign = "+" if group == "grid" else ""
        found += [f"{sign}{group}={option} " for option in options(group)]
    return found


def load_settings(overrides: list[str], record: str | None = None) -> Loaded:
    """Compose settings from overrides, over those of a sweep's record if there is one.

    A file of cells that extends a sweep names the record as well.

    Raises:
        InputError: a key is unknown, a value does not fit, or two sweeps are named.
    """
    file, _ = take_file(overrides)
    if file is not None and file.record is not None:
        if record is not None:
            raise InputError(
                f"--from {record} and {file.path} each name a sweep, and one was expected; leave --from out"
            )
        record = file.record
    return load_noted(overrides, None if record is None else read_record(record).config)


def run(given: argparse.Namespace, arguments: list[str]) -> int:
    """Run the command; return the exit code."""

    def act() -> int:
        found = load_settings(given.overrides, given.record)
        if given.cfg:
            print(resolved_yaml(found.settings))
            return 0
        return Sweep(found.settings, arguments, plain_console(), notes=found.notes).run()

    return interruptible(act)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    arguments = [without_control(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    return command_parser().answer(arguments, lambda given: run(given, arguments))


if __name__ == "__main__":
    sys.exit(main())
