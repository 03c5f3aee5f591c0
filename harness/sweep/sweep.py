"""One sweep: train the open cells of a plan, write the tables, fit and report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pandas as pd
from rich.console import Console

from analysis.records.fits import StudyRecord
from harness.cancel import clear_requests
from harness.config.folders import cache_folder, sweep_folder
from harness.config.schema import SweepSettings
from harness.config.settings import plain
from harness.data.build import DataConfig
from harness.launch.interface import Launcher, Outcome
from harness.launch.stop import is_cancelled, sweep_request
from harness.launch.supervise import Detached, Supervisor
from harness.launch.worker import WorkerConfig
from harness.plan.machine_table import print_machine_plan
from harness.plan.plan import Plan, make_plan
from harness.plan.speed import matmul_rate
from harness.plan.table import print_plan
from harness.records.command_line import recorded
from harness.records.errors import Damaged, InputError
from harness.records.json_files import write_record
from harness.records.number_text import duration
from harness.records.run_files import Origin, RunStatus
from harness.records.sweep_file import find_sweep
from harness.runs.collect import write_tables
from harness.sweep.finish import conclude, concluded, enough_to_fit, print_conclusion, print_scores
from harness.sweep.folder_recipe import claim_recipe
from harness.sweep.forecast_notes import ends_ahead
from harness.sweep.forecasts import Seal, discard_foreign, seals_of
from harness.sweep.launchers import make_launcher
from harness.sweep.phases import Phases
from harness.sweep.preparation import Preparation, Prepared, possible, task_items
from harness.sweep.record import sweep_record
from harness.track.progress import Progress
from harness.track.sinks import Sinks
from harness.track.worker_time import added, shares

# Rounds of training after files of runs were found damaged.
MAX_ROUNDS = 3


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
        self.settings, adapted = possible(settings)
        self._adapted = [*notes, *adapted]
        self.arguments = arguments
        self.command = recorded("harness.sweep", arguments)
        self.console = console
        self.folder = sweep_folder(settings)
        self.began = time.monotonic()
        self.brief = brief
        self.left_out: list[Outcome] = []
        self._sealed: set[str] = set()

    def run(self) -> int:
        """Plan, train the open cells, fit and report; return the exit code."""
        ready = self.prepare()
        self.print_plan(ready)
        return 0 if self.settings.dry_run else self.carry_out(ready)

    def prepare(self) -> Prepared:
        """Check everything, prepare the corpus, and return the plan; raises InputError."""
        preparation = Preparation(
            self.settings, self.arguments, self.folder, self.console.print, self._adapted
        )
        ready = preparation.prepared()
        self.settings = ready.settings
        return ready

    def carry_out(self, ready: Prepared) -> int:
        """Train the open cells, fit and report; return the exit code."""
        self._ready = ready
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
        if ready.plan.open_cells or ready.current is None:
            return None
        return concluded(self.folder, self.settings.grid.resamples, brief=self.brief)

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

            print_plan(self.console, plan, seconds, at_once, ready.lanes, ready.notes, recipes)

    def _write_sweep(self, ready: Prepared) -> None:
        """Write sweep.json if cells are open or the plan has changed; seconds add up over invocations."""
        before = ready.before
        self.record = sweep_record(
            self.settings, self.command, ready.plan, ready.corpus, ready.recipe, before, ready.seals
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
        if self._ready.current is not None:
            return self._ready.current
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
        phases = Phases(
            plan, self.folder, self.settings.grid, self.console, self._ready.lanes, self._sealed_one
        )
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

    def _sealed_one(self, seal: Seal) -> None:
        """Record a forecast that was just sealed."""
        self._sealed.add(seal.sha256)
        self._write_total()

    def _write_total(self) -> None:
        """Write sweep.json with the total seconds up to now."""
        total = self._total_before + time.monotonic() - self.began
        # Another driver may have sealed the forecast in the meantime.
        there = find_sweep(self.folder.sweep)
        known = {*self._sealed, *self.record.seals, *(there.seals if there else ())}
        seals = seals_of(self.folder, self.record.seals, known)
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
            kept=self._ready.keep.point_ids,
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
