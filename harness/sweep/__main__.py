"""`python -m harness.sweep +grid=NAME [overrides]`: plan, train, collect, fit, report.

The same command again skips finished cells, resumes interrupted runs from their checkpoints, and trains only
new cells.
Exit codes: 0 done, 1 some runs failed, 2 wrong input, 130 interrupted with the state saved.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
from rich.console import Console

from analysis.records.fits import StudyRecord
from harness.cancel import clear_requests
from harness.config.cells_file import take_file
from harness.config.overrides import without_control
from harness.config.schema import SweepSettings
from harness.config.settings import Loaded, known_keys, load_noted, options, plain, resolved_yaml
from harness.data.build import DataConfig
from harness.data.contamination import read_items, with_contamination
from harness.data.corpus import Corpus, check_size, mixture_note
from harness.data.prepare import prepare_corpus
from harness.data.sources import Source
from harness.data.tasks.mixture import TaskConfig
from harness.execution.devices import KNOWN
from harness.execution.execution import Execution, check_mesh, check_platform
from harness.execution.numerics import foreign
from harness.grid.arms import arm_notes
from harness.grid.cells import Cell, chosen_cells, expand
from harness.grid.ladder import depth_note, moving_depth_note
from harness.grid.recipe_notes import recipe_notes
from harness.grid.rounding import rounded
from harness.grid.rules import mlp_notes
from harness.launch.interface import Launcher, Outcome
from harness.launch.stop import is_cancelled, sweep_request
from harness.launch.supervise import Detached, Supervisor
from harness.launch.worker import WorkerConfig
from harness.plan.estimate import estimate_on
from harness.plan.kept import keep_lines, plan_keeping
from harness.plan.machine import Machine
from harness.plan.machine_table import print_machine_plan
from harness.plan.measured import measured_mfu
from harness.plan.plan import Plan, estimate_seconds, make_plan
from harness.plan.speed import matmul_rate
from harness.plan.table import compile_notes, holdout_line, print_plan
from harness.records.command_line import CommandParser, recorded
from harness.records.errors import Damaged, InputError
from harness.records.json_files import write_record
from harness.records.number_text import duration
from harness.records.run_files import Origin, RunStatus
from harness.records.secret_text import redacted
from harness.runs.collect import read_current, write_tables
from harness.sweep.ending import interruptible
from harness.sweep.finish import conclude, concluded, enough_to_fit, print_conclusion, print_scores
from harness.sweep.folder_recipe import (
    check_before_corpus,
    check_recipe,
    claim_recipe,
    recipe_of,
    record_before,
)
from harness.sweep.folders import cache_folder, check_source, sweep_folder
from harness.sweep.forecast_notes import ends_ahead, notes_on_forecasts
from harness.sweep.forecasts import (
    check_fit_cells,
    check_forecasts,
    discard_foreign,
    forecastable,
    seals_of,
)
from harness.sweep.launchers import (
    check_available,
    check_here,
    check_launcher,
    elsewhere_note,
    lanes,
    launcher_platform,
    make_launcher,
    n_workers,
    planned_machine,
    with_mesh,
)
from harness.sweep.phases import Phases
from harness.sweep.record import read_record, sweep_record
from harness.sweep.trained_before import notes_on_trained
from harness.track.console import plain_console
from harness.track.progress import Progress
from harness.track.sinks import Sinks, check_installed, check_sinks
from harness.track.worker_time import added, shares

# Rounds of training after files of runs were found damaged.
MAX_ROUNDS = 3
KEYS = """\
  +grid=NAME       one of: {grids}
  budget=NAME      quick (default), standard or full, where the grid has them
  dry_run=true     print the plan and stop; needs neither the devices, nor their memory, nor Slurm or Ray
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


def data_config(settings: SweepSettings) -> DataConfig:
    """Return the data settings that determine the corpus."""
    data = settings.data
    return DataConfig(
        name=data.name,
        path=data.path,
        vocab_size=data.vocab_size,
        tokenizer=data.tokenizer,
        packages=tuple(data.packages),
        text_field=data.text_field,
        eval_path=data.eval_path,
        token_field=data.token_field,
        separator=data.separator,
        eval_fraction=data.eval_fraction,
        min_eval_tokens=_least_scored(settings),
        synthetic_tokens=data.synthetic_tokens,
        markov_order=data.markov_order,
        branching=data.branching,
        zipf=data.zipf,
        source_seed=data.source_seed,
        tasks=tuple(TaskConfig.from_settings(name, task) for name, task in data.tasks.items()),
        sources=tuple(Source.from_settings(name, plain(source)) for name, source in data.sources.items()),
    )


def _least_scored(settings: SweepSettings) -> int:
    """Return the tokens that an evaluation split must have."""
    data, seq_len = settings.data, settings.model.seq_len
    if data.name == "mixture":
        return seq_len + 1  # of each source, which is scored on what it has of its part
    # A synthetic source has as many as are asked for.
    adapts = data.name != "synthetic" and not settings.strict
    return (data.curve_eval_tokens if adapts else data.eval_tokens) + seq_len


def task_items(settings: SweepSettings) -> int:
    """Return the test items per task and length: the grid's number, or else that of the data."""
    chosen = chosen_cells(settings.grid, settings.budget).task_items
    return settings.data.task_items if chosen is None else chosen


@dataclass(frozen=True)
class Prepared:
    """A sweep up to its plan, before anything is written into its folder.

    Attributes:
        plan: the plan.
        corpus: the prepared corpus.
        config: data settings of the corpus.
        recipe: settings that all runs of the folder share.
        at_once: runs that train at the same time.
        notes: what to say about the plan, one sentence each.
        machine: devices that the plan is made for; None if it is made for this machine.
    """

    plan: Plan
    corpus: Corpus
    config: DataConfig
    recipe: dict[str, Any]
    at_once: int
    notes: list[str]
    machine: Machine | None = None

    def estimate(self, core_rate: float | None) -> float:
        """Return the estimated seconds of the open cells; NaN if they depend on a core that was not measured.

        `core_rate` is what `matmul_rate` measured.
        """
        if self.machine is not None:
            return estimate_on(self.plan, replace(self.machine, core_rate=core_rate)).seconds
        return math.nan if core_rate is None else estimate_seconds(self.plan, core_rate, self.at_once)


class Sweep:
    """One invocation of the command.

    Args:
        settings: resolved settings.
        arguments: command line, for the record.
        console: where to print.
        brief: write no report and a short fits.json, and print only the scores of the forecasts at the end.
        notes: what to say about the settings, one sentence each.
    """

    def __init__(
        self,
        settings: SweepSettings,
        arguments: list[str],
        console: Console,
        *,
        brief: bool = False,
        notes: Sequence[str] = (),
    ):
        self.settings, adapted = with_mesh(*rounded(settings))
        self._adapted = [*notes, *adapted]
        self.arguments = arguments
        self.command = recorded("harness.sweep", arguments)
        self.console = console
        self.folder = sweep_folder(settings)
        self.began = time.monotonic()
        self.brief = brief
        self.left_out: list[Outcome] = []

    def run(self) -> int:
        """Plan, train the open cells, fit and report; return the exit code."""
        ready = self.prepare()
        self.print_plan(ready)
        return 0 if self.settings.dry_run else self.carry_out(ready)

    def prepare(self) -> Prepared:
        """Check everything, prepare the corpus, and return the plan.

        Raises:
            InputError: the settings, the machine or the folder do not allow this sweep.
        """
        settings = self.settings
        # The quick checks come first: a missing cluster should not be found after an hour of tokenising.
        mesh, execution = settings.mesh.sizes, Execution(**plain(settings.execution))
        check_launcher(settings.launcher, mesh)
        check_sinks(settings.sinks)
        machine = planned_machine(settings.plan, settings.launcher, mesh, execution)
        refused = self._refused(check_available, settings.launcher)
        available = not refused and not self._is_elsewhere
        without_sinks = self._refused(check_installed, settings.sinks)
        if settings.data.path is not None:
            check_source("data.path", settings.data.path)
        for name, source in settings.data.sources.items():
            if source.path is not None:
                check_source(f"data.sources.{name}.path", source.path)
        config, cache = data_config(settings), cache_folder(settings)
        text = check_before_corpus(self.folder, settings, task_items(settings))
        for note in [*self._adapted, *self._notes_on_environment(), *([text] if text else [])]:
            self.console.print(f"note: {note}")
        # Read first: preparing the corpus may take long.
        benchmark = settings.data.contamination
        items = None if benchmark is None else read_items(benchmark, config)
        corpus = prepare_corpus(config, cache, self.console.print)
        settings = self._scored(corpus)
        if items is not None:
            corpus = with_contamination(corpus, items, cache, self.console.print)
        data = corpus.spec(settings.data.eval_tokens, settings.data.curve_eval_tokens, task_items(settings))
        cells = expand(settings, data, corpus.vocab_size)
        longest = max(cell.n_tokens for cell in cells)
        check_size(corpus, longest, settings.data.max_epochs, settings.model.seq_len)
        recipe = recipe_of(settings, data)
        check_recipe(self.folder, recipe)
        self._before = record_before(self.folder)
        check_mesh((cell.spec for cell in cells), mesh, execution)
        refused += self._refused(check_here, settings.launcher, cells, mesh, execution)
        if machine is not None:
            machine = replace(machine, measured=measured_mfu(self.folder, cells, machine))
            if self._is_elsewhere:
                check_platform((cell.spec for cell in cells), mesh, execution, machine.devices.platform)
        self._current = read_current(self.folder, cells)
        if self._current is None:
            plan = make_plan(self.folder, cells, settings.data.eval_tokens)
        else:
            plan = Plan(cells, [], settings.data.eval_tokens)
        self._seals = check_forecasts(self.folder, cells, self._before)
        for lost in plan.lost:
            self.console.print(f"warning: {lost}; what it held is trained again")
        if plan.open_cells:
            check_fit_cells(cells)
        self._lanes = lanes(settings.launcher, mesh)
        notes = notes_on_trained(self.folder, self._before, settings, data, corpus.vocab_size, cells)
        notes += mixture_note(corpus, longest, settings.model.seq_len)
        notes += holdout_line(cells, forecastable)
        notes += self._expected(cells)
        notes += notes_on_forecasts(self.folder, self._before, cells, self._seals)
        platform = launcher_platform(settings.launcher) if machine is None else machine.devices.platform
        notes += compile_notes(plan, execution, platform)
        notes += mlp_notes((cell.spec.model for cell in cells), settings.model)
        notes += arm_notes(cells, settings)
        notes += recipe_notes(cells, settings.optim)
        depths = {cell.spec.model.n_layers for cell in cells}
        notes += depth_note(depths, settings.optim) + moving_depth_note(depths)
        notes += refused + without_sinks
        if machine is None:
            notes += elsewhere_note(settings.launcher, mesh, bool(refused))
        self._keep = plan_keeping(
            self.folder,
            cells,
            settings.keep,
            settings.keep_gb * 1e9,
            settings.keep_precision,
            len(corpus.tokenizer.definition) if corpus.tokenizer else 0,
        )
        notes += keep_lines(self.folder, self._keep, plan.open_cells, settings.keep, settings.keep_gb)
        at_once = n_workers(settings.launcher, mesh, available)
        return Prepared(plan, corpus, config, recipe, at_once, notes, machine)

    def _scored(self, corpus: Corpus) -> SweepSettings:
        """Return the settings with no more tokens to score than the corpus holds out, and say so."""
        settings, seq_len = self.settings, self.settings.model.seq_len
        there = (corpus.n_eval_tokens - 1) // seq_len * seq_len
        if there < settings.data.eval_tokens and not corpus.parts:
            self.console.print(
                f"note: data.eval_tokens={settings.data.eval_tokens:,} became {there:,}: the corpus holds "
                "out no more; strict=true refuses instead"
            )
            self.settings = replace(settings, data=replace(settings.data, eval_tokens=there))
        return self.settings

    def _expected(self, cells: list[Cell]) -> list[str]:
        """Return what errors to expect of the laws; nothing from a grid that asks about tasks."""
        if self.settings.data.tasks:
            return []
        from analysis.design.planned import expected_lines

        return expected_lines(self.folder, cells)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether only a plan is asked for, and for other devices, so that this machine does not matter."""
        return self.settings.dry_run and self.settings.plan.device is not None

    def _refused(self, check: Callable[..., None], *arguments: Any) -> list[str]:
        """Check what this machine has; return a sentence if it lacks what a plan does without.

        Raises:
            InputError: the check fails, and the sweep is to be trained.
        """
        if self._is_elsewhere:
            return []
        try:
            check(*arguments)
        except InputError as error:
            if not self.settings.dry_run:
                raise
            return [f"this machine can plan the sweep, but not start it: {error}"]
        return []

    def carry_out(self, ready: Prepared) -> int:
        """Train the open cells, fit and report; return the exit code."""
        if not self.folder.runs.exists():
            discard_foreign(self.folder)
        claim_recipe(self.folder, ready.recipe)
        self._write_sweep(ready)
        try:
            points = self._tables(ready.plan, ready.config)
        except Detached as left:
            self.console.print(str(left))
            return 0
        self._conclude(ready.plan, points)
        return 1 if self.left_out else 0

    def concluded(self, ready: Prepared) -> StudyRecord | None:
        """Return the content of fits.json if nothing is left to train and to fit, else None."""
        if ready.plan.open_cells or self._current is None:
            return None
        return concluded(self.folder, self.settings.grid.resamples, brief=self.brief)

    def _notes_on_environment(self) -> list[str]:
        """Return a sentence on variables that are overruled, and on secrets that are not recorded."""
        found = [
            f"{variable} is set here and would change losses; runs are trained without it"
            for variable in foreign(os.environ)
        ]
        if any(redacted(each) != each for each in self.arguments):
            found.append(
                "what looks like a secret on the command line is recorded as ***; give it in the environment "
                "of the process that needs it"
            )
        return found

    def print_plan(self, ready: Prepared) -> None:
        """Print the plan with notes."""
        plan, at_once, machine = ready.plan, ready.at_once, ready.machine
        recipes = self.settings.optim.has_rules
        if machine is not None:
            measured = matmul_rate() if machine.devices.accelerator is None and plan.open_cells else None
            print_machine_plan(self.console, plan, replace(machine, core_rate=measured), ready.notes, recipes)
            return
        # The speed of the machine is measured while the first lines are printed.
        with ThreadPoolExecutor(1) as beside:
            rate = beside.submit(matmul_rate) if plan.open_cells else None

            def seconds() -> float:
                return 0.0 if rate is None else ready.estimate(rate.result())

            print_plan(self.console, plan, seconds, at_once, self._lanes, ready.notes, recipes)

    def _write_sweep(self, ready: Prepared) -> None:
        """Write sweep.json if cells are open or the plan has changed; seconds add up over invocations."""
        before = self._before
        self.record = sweep_record(
            self.settings, self.command, ready.plan, ready.corpus, ready.recipe, before, self._seals
        )
        self._seconds_before = self.record.seconds
        self._total_before = self.record.seconds_total
        if ready.plan.open_cells or before is None or before.cells != self.record.cells:
            write_record(self.folder.sweep, self.record)

    def _tables(self, plan: Plan, config: DataConfig) -> pd.DataFrame:
        """Train the open cells and write the tables, unless they are up to date; return points.parquet.

        Files of runs that turn out to be damaged only now are set aside, and what they held is trained again.

        Raises:
            InputError: files that were just written are damaged again and again.
        """
        if self._current is not None:
            return self._current
        for _ in range(MAX_ROUNDS):
            damaged = self._train(plan, config)
            points = write_tables(self.folder, plan.cells, self.settings.grid.name, damaged)
            if not damaged:
                return points
            for error in damaged:
                where = error.path.relative_to(self.folder.runs)
                self.console.print(
                    f"warning: {where} cannot be read ({error.reason}); what it held is trained again"
                )
            again = make_plan(self.folder, plan.cells, plan.eval_tokens)
            given_up = {outcome.job.spec.run_id for outcome in self.left_out}
            plan = replace(
                again, open_cells=[cell for cell in again.open_cells if cell.spec.run_id not in given_up]
            )
        raise InputError(
            f"{self.folder.runs} does not keep what is written ({damaged[0].path} was damaged again); choose "
            "another disk with results_dir=DIR"
        )

    def _train(self, plan: Plan, config: DataConfig) -> list[Damaged]:
        """Train the open cells; write the seconds that it takes even after an interrupt.

        Returns:
            Files of runs that could not be read when the forecast was sealed.
        """
        if not plan.open_cells:
            return []
        clear_requests(self.folder, {cell.spec.run_id for cell in plan.open_cells})
        launcher = self._launcher(self._worker(config), plan)
        supervisor = Supervisor(
            launcher, self.folder, self.settings.launcher.max_attempts, self.console.print
        )
        phases = Phases(plan, self.folder, self.settings.grid, self.console, self._lanes, self._write_total)
        sinks = Sinks(self.settings.sinks, self.folder, self.record, self.console.print)
        began = time.monotonic()
        try:
            ends = ends_ahead(self.folder, plan.cells)
            with Progress(self.console, self.folder, plan.open_flops, plan.job_flops, ends) as progress:
                for outcome in phases.train(supervisor, (progress.watch, sinks.watch)):
                    progress.finish(outcome.job)
                    sinks.finish(outcome.job)
                    self._tell(outcome)
        finally:
            launcher.close()
            sinks.close()
            spent = launcher.spent(time.monotonic() - began)
            self.record = replace(
                self.record,
                worker_seconds=added(self.record.worker_seconds, spent),
                seconds=self._seconds_before + time.monotonic() - self.began,
            )
            self._write_total()
        if spent:
            self.console.print(f"workers' time: {shares(spent)}")
        return phases.damaged

    def _launcher(self, config: WorkerConfig, plan: Plan) -> Launcher:
        """Return the chosen launcher."""
        return make_launcher(self.settings.launcher, config, plan.job_flops)

    def _write_total(self) -> None:
        """Write sweep.json with the total seconds up to now."""
        total = self._total_before + time.monotonic() - self.began
        # Another driver may have sealed the forecast in the meantime.
        seals = seals_of(self.folder, self.record.seals)
        self.record = replace(self.record, seconds_total=total).with_seals(seals)
        write_record(self.folder.sweep, self.record)

    def _worker(self, config: DataConfig) -> WorkerConfig:
        """Return the settings of every worker."""
        settings = self.settings
        return WorkerConfig(
            sweep=str(self.folder.root.resolve()),
            cache_dir=str(cache_folder(settings)),
            data=asdict(config),
            seq_len=settings.model.seq_len,
            eval_tokens=settings.data.eval_tokens,
            curve_eval_tokens=settings.data.curve_eval_tokens,
            task_items=task_items(settings),
            mesh=asdict(settings.mesh.sizes),
            execution=plain(settings.execution),
            checkpoint_seconds=settings.launcher.checkpoint_seconds,
            pack=settings.launcher.pack,
            kept=self._keep.point_ids,
            keep_precision=settings.keep_precision,
            origin=Origin(command=self.record.command, config=self.record.config, corpus=self.record.corpus),
        )

    def _tell(self, outcome: Outcome) -> None:
        """Print the warnings and the end of a run; raise KeyboardInterrupt if the sweep is cancelled."""
        label = f"{outcome.job.spec.rung} seed {outcome.job.spec.seed} ({outcome.job.spec.run_id})"
        for text in self.folder.run(outcome.job.spec.run_id).read_state().warnings:
            self.console.print(f"warning: {label}: {text}")
        if outcome.status == RunStatus.FAILED:
            self.left_out.append(outcome)
            self.console.print(f"failed: {label}: {outcome.error}")
        elif outcome.status == RunStatus.DIVERGED:
            self.console.print(f"diverged: {label}; recorded and left out of the fits")
        elif outcome.status == RunStatus.INTERRUPTED:
            # A single cancelled run is skipped. A cancelled sweep, or a worker stopped by a signal, ends all.
            if sweep_request(self.folder).exists() or not is_cancelled(
                self.folder.run(outcome.job.spec.run_id)
            ):
                raise KeyboardInterrupt
            self.left_out.append(outcome)
            self.console.print(f"cancelled: {label}; the same command later goes on with it")

    def _conclude(self, plan: Plan, points: pd.DataFrame) -> None:
        """Write fits and report if they are not up to date, and print the conclusion."""
        enough_to_fit(points)
        resamples = self.settings.grid.resamples
        result = None if plan.open_cells else concluded(self.folder, resamples, brief=self.brief)
        if result is None:
            devices = tuple(sorted(set(points.device.dropna())))
            made = replace(self.record.provenance, devices=devices)
            self.record = replace(self.record, provenance=made)
            result = conclude(self.folder, resamples, brief=self.brief)
            self._write_total()
        if self.brief:
            print_scores(self.console, result)
        else:
            print_conclusion(self.console, self.folder, result)
        self.console.print(f"finished in {duration(time.monotonic() - self.began)}")


def command_parser() -> CommandParser:
    """Return the argument parser of the command."""
    parser = CommandParser(
        "harness.sweep",
        "Train a grid of language models, fit scaling laws to their losses, and write a report.",
        EXAMPLE,
        known_keys(),
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
