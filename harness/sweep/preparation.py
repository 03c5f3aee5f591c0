"""From the settings of a sweep to its plan: every check, the corpus, the cells, and what to say about them.

Nothing is written into the folder of the sweep.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.config.folders import cache_folder, check_source
from harness.config.schema import SweepSettings
from harness.config.settings import plain
from harness.data.build import DataConfig
from harness.data.contamination import read_items, with_contamination
from harness.data.corpus import Corpus, check_size, mixture_note
from harness.data.prepare import prepare_corpus
from harness.data.sources import Source
from harness.data.tasks.mixture import TaskConfig
from harness.execution.execution import Execution, check_mesh, check_platform
from harness.execution.numerics import foreign
from harness.grid.arms import arm_notes
from harness.grid.cells import Cell, chosen_cells
from harness.grid.expansion import expand
from harness.grid.ladder import aspect_note, depth_note, moving_depth_note
from harness.grid.packs import Lanes
from harness.grid.recipe_notes import recipe_notes
from harness.grid.rounding import rounded
from harness.grid.rules import mlp_notes
from harness.plan.estimate import estimate_on
from harness.plan.kept import KeepPlan, keep_lines, plan_keeping
from harness.plan.machine import Machine
from harness.plan.measured import measured_mfu
from harness.plan.plan import Plan, estimate_seconds, make_plan
from harness.plan.table import compile_notes, holdout_line
from harness.records.errors import InputError
from harness.records.paths import SweepFolder
from harness.records.secret_text import redacted
from harness.records.sweep_file import SweepRecord
from harness.runs.collect import read_current
from harness.sweep.folder_recipe import check_before_corpus, check_recipe, recipe_of, record_before
from harness.sweep.forecast_notes import notes_on_forecasts
from harness.sweep.forecasts import check_fit_cells, check_forecasts, forecastable
from harness.sweep.launchers import (
    check_available,
    check_here,
    check_launcher,
    elsewhere_note,
    lanes,
    launcher_platform,
    n_workers,
    planned_machine,
    with_mesh,
)
from harness.sweep.trained_before import notes_on_trained
from harness.track.sinks import check_installed, check_sinks


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
        settings: the settings, adapted to what the corpus holds.
        plan: the plan.
        corpus: the prepared corpus.
        config: data settings of the corpus, with paths that hold in any folder.
        recipe: settings that all runs of the folder share.
        before: record of earlier invocations, None if there was none.
        current: points.parquet if all tables are up to date, else None.
        seals: seal of every forecast of the folder, in the order of sealing.
        lanes: largest number of runs in one pack, by model.
        keep: end points that keep their parameters.
        at_once: runs that train at the same time.
        notes: what to say about the plan, one sentence each.
        machine: devices that the plan is made for; None if it is made for this machine.
    """

    settings: SweepSettings
    plan: Plan
    corpus: Corpus
    config: DataConfig
    recipe: dict[str, Any]
    before: SweepRecord | None
    current: pd.DataFrame | None
    seals: tuple[str | None, ...]
    lanes: Lanes
    keep: KeepPlan
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


class Preparation:
    """The way from settings to a plan; `prepared` goes it.

    Args:
        settings: settings with a mesh and a grid that can be had.
        arguments: command line, of which secrets are noticed.
        folder: folder of the sweep.
        say: prints a line.
        adapted: what was changed of the settings, one sentence each.
    """

    def __init__(
        self,
        settings: SweepSettings,
        arguments: Sequence[str],
        folder: SweepFolder,
        say: Callable[[str], None],
        adapted: Sequence[str] = (),
    ):
        self._settings = settings
        self._arguments = arguments
        self._folder = folder
        self._say = say
        self._adapted = adapted
        self._mesh = settings.mesh.sizes
        self._execution = Execution(**plain(settings.execution))

    def prepared(self) -> Prepared:
        """Check everything, prepare the corpus, and return the plan.

        Raises:
            InputError: the settings, the machine or the folder do not allow this sweep.
        """
        mesh, launcher = self._mesh, self._settings.launcher
        # The quick checks come first: a missing cluster should not be found after an hour of tokenising.
        check_launcher(launcher, mesh)
        check_sinks(self._settings.sinks)
        machine = planned_machine(self._settings.plan, launcher, mesh, self._execution)
        refused = self._refused(check_available, launcher)
        available = not refused and not self._is_elsewhere
        without_sinks = self._refused(check_installed, self._settings.sinks)
        config = data_config(self._settings)
        corpus = self._corpus(config)
        settings = self._settings
        items = task_items(settings)
        data = corpus.spec(settings.data.eval_tokens, settings.data.curve_eval_tokens, items)
        cells = expand(settings, data, corpus.vocab_size)
        longest = max(cell.n_tokens for cell in cells)
        too_small = self._too_small(corpus, longest)
        recipe = recipe_of(settings, data)
        check_recipe(self._folder, recipe)
        before = record_before(self._folder)
        check_mesh((cell.spec for cell in cells), mesh, self._execution)
        refused += self._refused(check_here, launcher, cells, mesh, self._execution)
        if machine is not None:
            machine = self._measured(machine, cells)
        current = read_current(self._folder, cells)
        plan = self._plan(cells, current)
        seals = check_forecasts(self._folder, cells, before)
        for lost in plan.lost:
            self._say(f"warning: {lost}; what it held is trained again")
        if plan.open_cells:
            check_fit_cells(cells)
        notes = notes_on_trained(self._folder, before, settings, data, corpus.vocab_size, cells)
        notes += mixture_note(corpus, longest, settings.model.seq_len)
        notes += holdout_line(cells, forecastable)
        notes += self._expected(cells)
        notes += notes_on_forecasts(self._folder, before, cells, seals)
        notes += self._notes_on_recipe(plan, machine)
        notes += refused + without_sinks + too_small
        if machine is None:
            notes += elsewhere_note(launcher, mesh, bool(refused))
        keep = self._keep(cells, corpus)
        notes += keep_lines(self._folder, keep, plan.open_cells, settings.keep, settings.keep_gb)
        return Prepared(
            settings=settings,
            plan=plan,
            corpus=corpus,
            config=config.located(),
            recipe=recipe,
            before=before,
            current=current,
            seals=seals,
            lanes=lanes(launcher, mesh),
            keep=keep,
            at_once=n_workers(launcher, mesh, available),
            notes=notes,
            machine=machine,
        )

    @property
    def _is_elsewhere(self) -> bool:
        """Whether only a plan is asked for, and for other devices, so that this machine does not matter."""
        return self._settings.dry_run and self._settings.plan.device is not None

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
            if not self._settings.dry_run:
                raise
            return [f"this machine can plan the sweep, but not start it: {error}"]
        return []

    def _corpus(self, config: DataConfig) -> Corpus:
        """Prepare the corpus, after every check that needs none; `eval_tokens` follow what it holds out."""
        data = self._settings.data
        if data.path is not None:
            check_source("data.path", data.path)
        for name, source in data.sources.items():
            if source.path is not None:
                check_source(f"data.sources.{name}.path", source.path)
        cache = cache_folder(self._settings)
        text = check_before_corpus(self._folder, self._settings, task_items(self._settings))
        for note in [*self._adapted, *self._notes_on_environment(), *([text] if text else [])]:
            self._say(f"note: {note}")
        # Read first: preparing the corpus may take long.
        items = None if data.contamination is None else read_items(data.contamination, config)
        corpus = prepare_corpus(config, cache, self._say)
        self._settings = self._scored(corpus)
        return corpus if items is None else with_contamination(corpus, items, cache, self._say)

    def _too_small(self, corpus: Corpus, longest: int) -> list[str]:
        """Return a sentence if the longest run reads a corpus too often that may be a part of the real one.

        Raises:
            InputError: it does, and the plan is for this machine or the sweep is to be trained.
        """
        try:
            check_size(corpus, longest, self._settings.data.max_epochs, self._settings.model.seq_len)
        except InputError as error:
            if not self._is_elsewhere:
                raise
            return [f"this machine has too little of the corpus to train, so this is a plan alone: {error}"]
        return []

    def _scored(self, corpus: Corpus) -> SweepSettings:
        """Return the settings with no more tokens to score than the corpus holds out, and say so."""
        settings, seq_len = self._settings, self._settings.model.seq_len
        there = (corpus.n_eval_tokens - 1) // seq_len * seq_len
        if there >= settings.data.eval_tokens or corpus.parts:
            return settings
        self._say(
            f"note: data.eval_tokens={settings.data.eval_tokens:,} became {there:,}: the corpus holds "
            "out no more; strict=true refuses instead"
        )
        return replace(settings, data=replace(settings.data, eval_tokens=there))

    def _measured(self, machine: Machine, cells: list[Cell]) -> Machine:
        """Return the machine with the speed that its runs logged; raise InputError if it cannot run these."""
        if self._is_elsewhere:
            platform = machine.devices.platform
            check_platform((cell.spec for cell in cells), self._mesh, self._execution, platform)
        return replace(machine, measured=measured_mfu(self._folder, cells, machine))

    def _plan(self, cells: list[Cell], current: pd.DataFrame | None) -> Plan:
        """Return the plan, in which no cell is open if all tables are up to date."""
        eval_tokens = self._settings.data.eval_tokens
        return (
            make_plan(self._folder, cells, eval_tokens) if current is None else Plan(cells, [], eval_tokens)
        )

    def _expected(self, cells: list[Cell]) -> list[str]:
        """Return what errors to expect of the laws; nothing from a grid that asks about tasks."""
        if self._settings.data.tasks:
            return []
        from analysis.design.planned import expected_lines

        return expected_lines(self._folder, cells)

    def _notes_on_environment(self) -> list[str]:
        """Return a sentence on variables that are overruled, and on secrets that are not recorded."""
        found = [
            f"{variable} is set here and would change losses; runs are trained without it"
            for variable in foreign(os.environ)
        ]
        if any(redacted(each) != each for each in self._arguments):
            found.append(
                "what looks like a secret on the command line is recorded as ***; give it in the environment "
                "of the process that needs it"
            )
        return found

    def _notes_on_recipe(self, plan: Plan, machine: Machine | None) -> list[str]:
        """Return what to say about the models and their recipe."""
        settings, cells = self._settings, plan.cells
        platform = launcher_platform(settings.launcher) if machine is None else machine.devices.platform
        notes = compile_notes(plan, self._execution, platform)
        notes += mlp_notes((cell.spec.model for cell in cells), settings.model)
        notes += arm_notes(cells, settings)
        notes += recipe_notes(cells, settings.optim)
        depths = {cell.spec.model.n_layers for cell in cells}
        ladder = chosen_cells(settings.grid, settings.budget).ladder
        notes += aspect_note(ladder, {(cell.spec.model.d_model, cell.spec.model.n_layers) for cell in cells})
        return notes + depth_note(depths, settings.optim) + moving_depth_note(depths)

    def _keep(self, cells: list[Cell], corpus: Corpus) -> KeepPlan:
        """Return which end points keep their parameters, within the budget of the disk."""
        settings = self._settings
        return plan_keeping(
            self._folder,
            cells,
            settings.keep,
            settings.keep_gb * 1e9,
            settings.keep_precision,
            len(corpus.tokenizer.definition) if corpus.tokenizer else 0,
        )


def possible(settings: SweepSettings) -> tuple[SweepSettings, list[str]]:
    """Return settings whose grid and mesh can be had, and what was changed; raises InputError."""
    return with_mesh(*rounded(settings))
