"""`python -m harness.replicate +grid=NAME n=20 [overrides]`: the whole sweep again n times with new seeds.

Each replication is a sweep in a folder of its own, results/replications/NAME/r01 and so on, with its forecast
sealed before its hold-out is trained. The same command again skips finished replications and goes on with
the others; in a clone, those whose tables are complete. Text, tokenizer and compiled programs are shared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console

from harness.config.folders import sweep_folder
from harness.config.overrides import key_of, without_control
from harness.config.schema import SweepSettings
from harness.config.settings import known_keys, options
from harness.launch.ending import interruptible
from harness.plan.machine_table import time_words
from harness.plan.plan import Plan
from harness.plan.speed import matmul_rate
from harness.records.columns import DONE, POINT_COLUMNS, checked_columns
from harness.records.command_line import CommandParser, program_name
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.number_text import duration, given
from harness.records.paths import SweepFolder
from harness.replicate.seeds import overrides_of, replicated
from harness.sweep.__main__ import load_settings
from harness.sweep.finish import forecast_line
from harness.sweep.forecasts import own_intact
from harness.sweep.preparation import Prepared
from harness.sweep.sweep import Sweep
from harness.track.console import plain_console

COUNT = "n"  # key of the number of replications
MOST = 9999
FOLDER = "replications"  # of results/, with a folder for each grid
REFERENCES, KEEP = "grid.references", "keep"
KEYS = """\
  +grid=NAME       one of: {grids}
  n=NUMBER         replications
  dry_run=true     print the plan of one and the total, and stop; writes nothing but the text in the cache
  results_dir=DIR  folder of the replications (default results/replications/NAME)
  any other key    as harness.sweep takes them; seeds given here are moved as well
  grid.references  is [] unless given: cosine references are left out
  keep             is none unless given: no parameters are kept"""
EXAMPLE = """\
python -m harness.replicate +grid=chinchilla n=20 dry_run=true
python -m analysis.replications results/replications/chinchilla"""


@dataclass(frozen=True)
class Replication:
    """One replication.

    Attributes:
        number: which, from 1.
        sweep: the sweep that carries it out.
    """

    number: int
    sweep: Sweep

    @property
    def name(self) -> str:
        """Name of its folder."""
        return folder_name(self.number)


def folder_name(number: int) -> str:
    """Return the name of a replication's folder.

    >>> folder_name(3), folder_name(120)
    ('r03', 'r120')
    """
    return f"r{number:02d}"


def taken_number(arguments: list[str]) -> tuple[int, list[str]]:
    """Return the number of replications and all other arguments.

    Raises:
        InputError: the number is missing, or is not a whole number from 1 to MOST.
    """
    given = [each for each in arguments if key_of(each) == COUNT and "=" in each]
    if not given:
        raise InputError("the number of replications was expected and none was given; add n=20")
    text = given[-1].partition("=")[2].strip()
    if not text.isdecimal() or not 0 < int(text) <= MOST:
        raise InputError(f"n={text} was given, expected a whole number from 1 to {MOST}; type n=20")
    return int(text), [each for each in arguments if each not in given]


class Replicate:
    """One invocation of the command.

    Args:
        n: number of replications.
        overrides: overrides of the sweep, as `harness.sweep` takes them.
        record: path of a sweep.json to take the configuration from, or None.
        console: where to print.
    """

    def __init__(self, n: int, overrides: list[str], record: str | None, console: Console):
        self.n = n
        self.overrides = overrides
        self.record = record
        self.console = console
        loaded = load_settings(overrides, record)
        self.settings, self.notes = loaded.settings, loaded.notes
        given = {key_of(each) for each in overrides}
        self.has_references = REFERENCES in given
        # Twenty times the same sizes would fill the disk with models that nobody asked for.
        self.keeps = KEEP in given
        self.root = replications_folder(self.settings)

    def run(self) -> int:
        """Plan, and train what is left of each replication in turn; return the exit code."""
        if self.settings.dry_run:
            self._print_plan([(each, each.sweep.prepare()) for each in self._replications()])
            return 0
        code, planned = 0, False
        for each in self._replications():
            ready = each.sweep.prepare()
            if is_told(each.sweep.folder, ready.plan):
                self.console.print(f"{each.name} is finished, as its tables tell; its runs are not here")
                continue
            done = each.sweep.concluded(ready)
            if done is not None:
                scores = "; ".join(forecast_line(score) for score in done.scores)
                self.console.print(f"{each.name} is finished{f': {scores}' if scores else ''}")
                continue
            self.console.print(f"replication {each.number} of {self.n}, {self._seeds(each)}")
            if not planned:
                # The first plan stands for all: replications differ only in their seeds.
                each.sweep.print_plan(ready)
                planned = True
            code = max(code, each.sweep.carry_out(ready))
        compare = program_name("analysis.replications")
        self.console.print(f"to compare the replications: {compare} {self.root}")
        return code

    def _replications(self) -> Iterator[Replication]:
        """Yield the replications, each with its own seeds and folder."""
        for number in range(1, self.n + 1):
            folder = f"{self.root}/{folder_name(number)}"
            settings = replicated(self.settings, number, references=self.has_references)
            settings = replace(settings, results_dir=folder, keep=settings.keep if self.keeps else "none")
            given = [*self.overrides, *overrides_of(settings), f"results_dir={folder}"]
            given += [] if self.keeps else [f"{KEEP}=none"]
            arguments = given if self.record is None else [*given, "--from", self.record]
            # Replications differ only in their seeds, so the first says it for all.
            notes = self.notes if number == 1 else ()
            sweep = Sweep(settings, arguments, self.console, brief=True, notes=notes)
            yield Replication(number, sweep)

    def _print_plan(self, prepared: list[tuple[Replication, Prepared]]) -> None:
        """Print the plan of the first replication that is not finished, if there is one, then the total."""
        waiting = [
            (each, ready)
            for each, ready in prepared
            if ready.plan.open_cells and not is_told(each.sweep.folder, ready.plan)
        ]
        if not waiting:
            self.console.print(f"all {self.n} replications are trained; a larger n= adds more")
            return
        first, ready = waiting[0]
        self.console.print(f"plan of replication {first.number} of {self.n}, {self._seeds(first)}")
        if not self.has_references:
            self.console.print(f"note: cosine references are left out; {REFERENCES}=[…] adds them")
        first.sweep.print_plan(ready)
        self.console.print(
            f"all {self.n} replications: {len(prepared) - len(waiting)} are trained, {len(waiting)} to train "
            f"one after the other: {self._cost(waiting)}"
        )

    @staticmethod
    def _cost(waiting: list[tuple[Replication, Prepared]]) -> str:
        """Return the FLOPs, the time and on other devices the cost of replications that are not trained."""
        flops = sum(ready.plan.open_flops for _, ready in waiting)
        machine = waiting[0][1].machine
        rate = matmul_rate() if machine is None or machine.devices.accelerator is None else None
        seconds = sum(ready.estimate(rate) for _, ready in waiting)
        if machine is not None:
            return f"{flops:.2e} FLOPs, {time_words(seconds, machine)}"
        if not given(seconds):
            return f"{flops:.2e} FLOPs, for a time unknown, as this machine was not measured"
        return f"{flops:.2e} FLOPs, about {duration(seconds)}"

    def _seeds(self, each: Replication) -> str:
        """Return the folder of a replication and its `grid.seeds`."""
        seeds = ", ".join(map(str, each.sweep.settings.grid.seeds or []))
        return f"{each.sweep.folder.root}: seed {seeds}"


def is_told(folder: SweepFolder, plan: Plan) -> bool:
    """Return whether a replication without runs, as in a clone, has its forecast and all points."""
    if folder.runs.exists() or not folder.points.exists() or not own_intact(folder):
        return False
    points = checked_columns(read_table(folder.points), POINT_COLUMNS, folder.points)
    done = points[points.status == DONE]
    return {cell.key for cell in plan.cells} <= set(zip(done.run_id, done.n_tokens, strict=True))


def replications_folder(settings: SweepSettings) -> str:
    """Return the folder of all replications: results_dir, or results/replications/<grid>."""
    if settings.results_dir is not None:
        return settings.results_dir
    own = sweep_folder(replace(settings, results_dir=None)).root
    return str(own.parent / FOLDER / own.name)


def command_parser() -> CommandParser:
    """Return the argument parser of the command."""
    parser = CommandParser(
        "harness.replicate",
        "Carry out a sweep n times with new seeds, each with its own sealed forecast.",
        EXAMPLE,
        [COUNT, *known_keys()],
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of the configuration")
    parser.add_argument_group("keys", KEYS.format(grids=", ".join(options("grid"))))
    parser.add_argument(
        "--from",
        dest="record",
        metavar="FILE",
        help="replicate the sweep of this sweep.json in place of a grid; keys on the command line win",
    )
    return parser


def run(given: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    n, overrides = taken_number(given.overrides)
    return interruptible(lambda: Replicate(n, overrides, given.record, plain_console()).run())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    arguments = [without_control(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    return command_parser().answer(arguments, run)


if __name__ == "__main__":
    sys.exit(main())
