"""Cells (N, D) of a grid from its settings, and jobs from cells: one job per trajectory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from harness.config.arms import arm_settings
from harness.config.cells_file import FILE_GRIDS
from harness.config.schema import ExtraCells, GridCells, GridSettings, OptimSettings, SweepSettings
from harness.config.values import typed
from harness.grid import rules as recipe
from harness.grid import token_rules
from harness.grid.holdout import hold_out
from harness.grid.ladder import ladder_rungs
from harness.grid.rules import Rung
from harness.grid.token_rules import RunTokens
from harness.recipe import counting
from harness.recipe.schedule import branch_start, check_reachable, segments
from harness.recipe.spec import (
    GROUPS,
    SEPARATE_SCHEDULES,
    DataSpec,
    Job,
    ModelSpec,
    RunSpec,
    ScheduleSpec,
)
from harness.records.columns import ARM_ROLE
from harness.records.errors import InputError

# How a loss is used: fitted, forecast before training, compared (cosine runs), in a learning-rate grid, or
# compared with the fitted runs (an arm other than the first).
ROLES = ("fit", "holdout", "reference", "lr", ARM_ROLE)
# Seed of a grid that names none.
DEFAULT_SEED = 0


@dataclass(frozen=True)
class Cell:
    """One (N, D) of a grid with its recipe.

    Attributes:
        spec: recipe of the trajectory that the cell lies on.
        n_tokens: D, training tokens at the cell's end point.
        role: how its loss is used, one of ROLES.
        arm: the arm that it belongs to; None in a grid without arms.
    """

    spec: RunSpec
    n_tokens: int
    role: str
    arm: str | None = None

    @property
    def flops(self) -> float:
        """Training FLOPs from the first step to the end point, counted exactly."""
        return counting.train_flops(self.spec.model, self.n_tokens)

    @property
    def key(self) -> tuple[str, int]:
        """Identity of the cell: (run_id, n_tokens)."""
        return self.spec.run_id, self.n_tokens


def chosen_cells(grid: GridSettings, budget: str) -> GridCells:
    """Return the cells that the user or the grid file asks for; the budget supplies every key left null.

    Rungs that are asked for take the place of a budget's ladder.
    """
    preset = grid.budgets.get(budget, GridCells())
    if grid.rungs is not None:
        preset = replace(preset, ladder=None)
    names = [field.name for field in fields(GridCells)]
    picked = {name: getattr(grid, name) for name in names}
    return GridCells(**{n: getattr(preset, n) if v is None else v for n, v in picked.items()})


def expand(settings: SweepSettings, data: DataSpec, vocab_size: int) -> list[Cell]:
    """Return all cells of the chosen grid and budget, each once, by width, depth, seed and token count.

    Args:
        settings: the whole configuration of the sweep.
        data: which tokens are read and scored.
        vocab_size: number of token ids, the separator included.

    Raises:
        InputError: the grid has no cells, a rung or token count is impossible, the hold-out leaves nothing to
            fit, or seeds are given that cannot be added. Also two arms that train the same runs.
    """
    arms = arm_settings(settings)
    if arms:
        return _expand_arms(arms, data, vocab_size)
    chosen = chosen_cells(settings.grid, settings.budget)
    check_seeds(chosen)
    _check_batches(chosen, settings.optim)
    builder = _Builder(settings, data, vocab_size, chosen)
    cells, listed = _each_once(builder.cells()), builder.listed()
    if not cells and not listed:
        name = settings.grid.name
        give = f"add {name}=FILE.yaml" if name in FILE_GRIDS else "give grid.rungs=[…] and grid.n_tokens=[…]"
        raise InputError(f"grid {name} has no cells: {give}")
    for cell in [*cells, *listed]:
        check_reachable(cell.spec, cell.n_tokens)
        _check_warmup(settings, cell)
    marked = hold_out(cells, chosen.holdout_factor) if cells else []
    return _each_once([*marked, *builder.repeated(marked), *listed])


def _expand_arms(arms: Mapping[str, SweepSettings], data: DataSpec, vocab_size: int) -> list[Cell]:
    """Return the cells of the base arm, and for each other arm those of the same rungs, tokens and seeds.

    Runs of an arm have its overrides in their recipe and nothing else: another sweep has the same run ids.
    """
    (base, settings), *others = arms.items()
    cells = [replace(cell, arm=base) for cell in expand(settings, data, vocab_size)]
    copied = [cell for cell in cells if cell.role in ("fit", "holdout")]
    places: dict[tuple[int, int, int], list[int]] = {}
    for cell in copied:
        model = cell.spec.model
        places.setdefault((model.d_model, model.n_layers, cell.spec.seed), []).append(cell.n_tokens)
    smallest = _Builder(
        settings, data, vocab_size, chosen_cells(settings.grid, settings.budget)
    ).smallest_tokens
    usual = settings.model.n_layers
    extra = [
        # A rung of the usual depth has the arm's own.
        ExtraCells(d_model, n_tokens, [seed], None if n_layers == usual else n_layers)
        for (d_model, n_layers, seed), n_tokens in places.items()
    ]
    seen = {cell.key: base for cell in cells}
    for name, own in others:
        builder = _Builder(own, data, vocab_size, GridCells(extra=extra))
        # All arms warm up alike, whichever cells they share.
        builder.smallest_tokens = smallest
        found = [replace(cell, role=ARM_ROLE, arm=name) for cell in _each_once(builder.cells())]
        for cell in found:
            check_reachable(cell.spec, cell.n_tokens)
            _check_warmup(own, cell)
            if cell.key in seen:
                raise InputError(
                    f"arms {seen[cell.key]} and {name} train the same runs, expected overrides that differ; "
                    "take one of them out of grid.arms"
                )
        seen |= {cell.key: name for cell in found}
        cells += found
    return cells


def check_seeds(chosen: GridCells) -> None:
    """Raise InputError if there is no seed, or seeds of the fitted cells are of all cells or fit none."""
    if chosen.seeds == []:
        raise InputError(f"grid.seeds is [], expected one seed or more; type grid.seeds=[{DEFAULT_SEED}]")
    further, seeds = chosen.fit_seeds or [], chosen.seeds or [DEFAULT_SEED]
    twice = sorted(set(further) & set(seeds))
    if twice:
        rest = [seed for seed in further if seed not in twice]
        raise InputError(
            f"seeds other than those of grid.seeds={typed(seeds)} were expected in grid.fit_seeds, and "
            f"{typed(twice)} stand in both; type grid.fit_seeds={typed([*rest, max(seeds + further) + 1])}"
        )
    if further and chosen.lr_scale:
        raise InputError(
            f"grid.fit_seeds={typed(further)} repeat fitted cells and a grid of learning rates has none; "
            "type grid.seeds instead, and grid.fit_seeds=[]"
        )
    if chosen.cells and chosen.lr_scale:
        raise InputError(
            "grid.cells are fitted or forecast and a grid of learning rates is neither; list them under "
            "another grid, or give grid.cells=[]"
        )


def _check_batches(chosen: GridCells, optim: OptimSettings) -> None:
    """Raise InputError if batches are swept and rates are not, D chooses them too, or one is listed twice."""
    sizes = chosen.batch_sizes
    if sizes is None:
        return
    if not chosen.lr_scale:
        raise InputError(
            f"grid.batch_sizes={typed(sizes)} are swept with learning rates, and this grid sweeps none; use "
            f"+grid=lr, or optim.batch_size={max(sizes, default=1)} for one batch"
        )
    if optim.batch_size_tokens_exponent:
        raise InputError(
            f"grid.batch_sizes={typed(sizes)} lists the batches, and optim.batch_size_tokens_exponent="
            f"{optim.batch_size_tokens_exponent:g} lets D choose them; use optim.batch_size_tokens_exponent=0"
        )
    if len(set(sizes)) < max(len(sizes), 1):
        raise InputError(
            f"grid.batch_sizes={typed(sizes)} was given, expected one batch or more, each once; type "
            f"grid.batch_sizes={typed(sorted(set(sizes)) or [2, 4, 8])}"
        )


def _check_warmup(settings: SweepSettings, cell: Cell) -> None:
    """Raise InputError if a warm-up given in tokens leaves no step at the peak rate before the cooldown."""
    spec, given = cell.spec, settings.optim.warmup_tokens
    at_peak = branch_start(spec, cell.n_tokens) if spec.schedule.has_trunk else spec.n_steps(cell.n_tokens)
    if given is not None and spec.schedule.warmup_steps >= at_peak:
        raise InputError(
            f"optim.warmup_tokens={given:g} is no shorter than the {at_peak * spec.batch_tokens} tokens "
            f"before the cooldown of rung {spec.rung} at n_tokens={cell.n_tokens}; use at most "
            f"{at_peak * spec.batch_tokens // 2}, or optim.warmup_tokens=null"
        )


def _each_once(cells: list[Cell]) -> list[Cell]:
    """Return cells by width, depth, seed and token count; of equal cells the first."""
    # Reversed, so that the first stays: the rectangle goes before extras and references.
    unique = {cell.key: cell for cell in reversed(cells)}
    return sorted(
        unique.values(),
        key=lambda c: (c.spec.model.d_model, c.spec.model.n_layers, c.spec.seed, c.n_tokens, c.key),
    )


class _Builder:
    """Builder of cells from the lists of one grid, all under one recipe."""

    def __init__(self, settings: SweepSettings, data: DataSpec, vocab_size: int, cells: GridCells):
        self.settings = settings
        self.data = data
        self.vocab_size = vocab_size
        self.chosen = cells
        self.smallest_tokens = self._smallest_tokens()
        # One RunSpec per trajectory: its run_id, a hash, is cached in the object.
        self._specs: dict[tuple[Any, ...], RunSpec] = {}
        self._recipes: dict[tuple[Any, ...], RunSpec] = {}
        self._ends: dict[ModelSpec, list[int]] = {}

    def cells(self) -> list[Cell]:
        """Return the cells of the grid; a learning-rate grid has no others."""
        if self.chosen.lr_scale:
            return self._lr_cells(self.chosen.lr_scale)
        return self._main_cells() + self._extra_cells() + self._reference_cells()

    @property
    def seeds(self) -> list[int]:
        """Seeds of the rectangle; DEFAULT_SEED if the grid names none."""
        return self.chosen.seeds or [DEFAULT_SEED]

    @cached_property
    def rungs(self) -> list[Rung]:
        """Rungs of the rectangle: those of the ladder, or widths of the same depth."""
        model = self.settings.model
        if self.chosen.ladder is not None:
            return ladder_rungs(self.chosen.ladder, model, self.vocab_size)
        return [Rung(d_model, model.n_layers) for d_model in self.chosen.rungs or []]

    def _smallest_tokens(self) -> int:
        """Return the token count of the grid's smallest run, on which the warm-up depends."""
        tokens = [n for rung in self.rungs for n in self._tokens(rung)]
        tokens += [n for extra in self.chosen.extra or [] for n in extra.n_tokens]
        tokens += [r.n_tokens for r in self.chosen.references or []]
        # Cells that are listed later must not change the runs that are there.
        return min(tokens or [n for cell in self.chosen.cells or [] for n in cell.n_tokens], default=0)

    def _model(self, rung: Rung) -> ModelSpec:
        settings = self.settings
        return recipe.model_spec(rung, settings.model, self.vocab_size, settings.optim.transfer)

    def _tokens(self, rung: Rung) -> list[int]:
        """Return the token counts of a rung: the grid's list, and those that its size makes.

        The others come from compute budgets in FLOPs and from ratios of tokens to parameters. Counts whose
        training exceeds `max_flops` are left out.
        """
        chosen, model = self.chosen, self._model(rung)
        per_token = counting.train_flops_token(model)
        limit = math.inf if chosen.max_flops is None else chosen.max_flops / per_token
        found = [flops / per_token for flops in chosen.flops or []]
        found += [ratio * counting.n_params(model) for ratio in chosen.tokens_per_param or []]
        longest = max([n for n in (*found, *(chosen.n_tokens or [])) if n <= limit], default=0)
        tokens = [*(chosen.n_tokens or []), *(self._rounded(n, max(n, longest)) for n in found)]
        return [n for n in tokens if n * per_token <= (chosen.max_flops or math.inf)]

    def _rounded(self, n_tokens: float, longest: float) -> int:
        """Return the number of tokens next to `n_tokens` at which a run can end.

        A run ends on a logging interval, of the batch of the longest run on a trunk.
        """
        optim, seq_len = self.settings.optim, self.settings.model.seq_len
        if optim.schedule in SEPARATE_SCHEDULES:
            longest = n_tokens
        size = token_rules.free_batch_size(optim, longest, seq_len)
        raster = math.lcm(*(self.chosen.batch_sizes or [size])) * seq_len * self.settings.grid.log_interval
        return max(1, round(n_tokens / raster)) * raster

    def _main_cells(self) -> list[Cell]:
        """Return the rectangle of rungs × seeds × token counts."""
        return [
            self._cell(rung, n_tokens, seed, "fit")
            for rung in self.rungs
            for tokens in [self._tokens(rung)]
            for seed in self.seeds
            for n_tokens in tokens
        ]

    def _extra_cells(self) -> list[Cell]:
        """Return the cells beside the rectangle, such as further seeds that measure seed noise."""
        return [
            self._cell(self._rung(extra.d_model, extra.n_layers), n_tokens, seed, "fit")
            for extra in self.chosen.extra or []
            for n_tokens in extra.n_tokens
            for seed in extra.seeds
        ]

    def _rung(self, d_model: int, n_layers: int | None = None) -> Rung:
        """Return the rung of a width, and of a depth other than the usual one if it is given."""
        usual = self.settings.model.n_layers
        return Rung(d_model, n_layers or usual, usual)

    def repeated(self, cells: list[Cell]) -> list[Cell]:
        """Return the fitted ones among `cells` with each of the grid's `fit_seeds`.

        Cheap cells measure noise and pin the law down; the dear ones that are held out need no repetition.
        """
        fitted = dict.fromkeys((c.spec.model, c.n_tokens) for c in cells if c.role == "fit")
        return [
            self._cell(self._rung(model.d_model, model.n_layers), n_tokens, seed, "fit")
            for model, n_tokens in fitted
            for seed in self.chosen.fit_seeds or []
        ]

    def listed(self) -> list[Cell]:
        """Return the cells that the grid lists with their seeds and roles."""
        return [
            self._cell(self._rung(each.d_model, each.n_layers), n_tokens, seed, each.role)
            for each in self.chosen.cells or []
            for n_tokens in each.n_tokens
            for seed in each.seeds
        ]

    def _reference_cells(self) -> list[Cell]:
        """Return the cosine runs, tuned over `lr_scale`, against which trunk and branch are compared."""
        if self.chosen.references and self.settings.optim.name == "schedule_free":
            raise InputError(
                "grid.references are runs with a cosine schedule and optim.name=schedule_free has none; "
                "add grid.references=[]"
            )
        return [
            self._cell(self._rung(r.d_model), r.n_tokens, seed, "reference", self._scale_all(scale), "cosine")
            for r in self.chosen.references or []
            for scale in r.lr_scale
            for seed in r.seeds
        ]

    def _lr_cells(self, scales: dict[str, list[float]]) -> list[Cell]:
        """Return the cells of a learning-rate grid: it scales the rate of one parameter group at a time."""
        unknown = sorted(set(scales) - set(GROUPS))
        if unknown:
            raise InputError(
                f"grid.lr_scale has no parameter group {unknown[0]}; groups are {', '.join(GROUPS)}"
            )
        sizes: list[int | None] = list(self.chosen.batch_sizes or []) or [None]
        return [
            self._cell(rung, n_tokens, seed, "lr", {group: factor}, batch_size=size)
            for size in sizes
            for rung in self.rungs
            for seed in self.seeds
            for n_tokens in self._tokens(rung)
            for group, factors in scales.items()
            # A tied head has no rate of its own.
            if group != "head" or not self.settings.model.tied_embeddings
            for factor in factors
        ]

    @staticmethod
    def _scale_all(scale: float) -> dict[str, float]:
        """Return one factor for the rates of all parameter groups."""
        return dict.fromkeys(GROUPS, scale)

    def _cell(
        self,
        rung: Rung,
        n_tokens: int,
        seed: int,
        role: str,
        scale: dict[str, float] | None = None,
        schedule: str | None = None,
        batch_size: int | None = None,
    ) -> Cell:
        """Return the cell of a rung at `n_tokens`.

        Args:
            rung: width and depth.
            n_tokens: D.
            seed: of parameters and data order.
            role: how its loss is used.
            scale: factors on learning rates by parameter group.
            schedule: kind of schedule; None is that of the settings.
            batch_size: sequences of a batch; None is the setting, or by the rule.
        """
        kind = schedule or self.settings.optim.schedule
        # Cells of one trunk share a recipe. A cosine or linear run has its own length in it, since its rates
        # depend on it.
        own_length = n_tokens if kind in SEPARATE_SCHEDULES else None
        key = (rung, own_length, tuple((scale or {}).items()), kind, batch_size)
        if (key, seed) not in self._specs:
            # Seeds share model and rates, which take longer to work out than to copy.
            if key not in self._recipes:
                self._recipes[key] = self._spec(rung, own_length, seed, scale or {}, kind, batch_size)
            self._specs[key, seed] = replace(self._recipes[key], seed=seed)
        return Cell(self._specs[key, seed], n_tokens, role)

    def _spec(
        self,
        rung: Rung,
        own_length: int | None,
        seed: int,
        scale: dict[str, float],
        kind: str,
        batch_size: int | None,
    ) -> RunSpec:
        """Return the recipe of a trajectory, with the arguments of `_cell`.

        `own_length` is the number of tokens of a run that serves one token count alone; a trunk has None.
        """
        settings, model = self.settings, self._model(rung)
        ends = self._trunk_ends(model) if own_length is None else [own_length]
        size = batch_size or token_rules.batch_size(
            settings.optim, ends, model.seq_len, settings.grid.log_interval
        )
        run = RunTokens(
            batch_size=size,
            seq_len=model.seq_len,
            longest=max(ends),
            tokens_per_param=max(ends) / counting.n_params(model),
            alone=own_length is not None,
        )
        return RunSpec(
            rung=rung.name,
            model=model,
            optim=recipe.optim_spec(rung, settings.optim, scale, run),
            schedule=ScheduleSpec(
                kind=kind,
                warmup_steps=token_rules.warmup_steps(settings.optim, self.smallest_tokens, run.batch_tokens),
                cooldown_frac=settings.optim.cooldown_frac,
                final_lr_frac=settings.optim.final_lr_frac,
                n_steps=None if own_length is None else own_length // run.batch_tokens,
            ),
            data=self.data,
            seed=seed,
            log_interval=settings.grid.log_interval,
        )

    def _trunk_ends(self, model: ModelSpec) -> list[int]:
        """Return the token counts of all branches of a rung's trunks, the same for each of its seeds."""
        if model not in self._ends:
            rungs = [rung for rung in self.rungs if self._model(rung) == model]
            ends = [n for rung in rungs for n in self._tokens(rung)]
            for extra in self.chosen.extra or []:
                if self._model(self._rung(extra.d_model, extra.n_layers)) == model:
                    ends += extra.n_tokens
            if not ends:
                listed = [
                    each
                    for each in self.chosen.cells or []
                    if self._model(self._rung(each.d_model, each.n_layers)) == model
                ]
                ends = [n for each in listed for n in each.n_tokens]
            self._ends[model] = ends
        return self._ends[model]


def trajectories(cells: list[Cell]) -> list[Job]:
    """Group cells of one trajectory into a job, in the order of the cells."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.spec.run_id, []).append(cell)
    return [Job(group[0].spec, tuple(sorted(cell.n_tokens for cell in group))) for group in groups.values()]


def jobs(cells: list[Cell]) -> list[Job]:
    """Return one job per trajectory, the most expensive first."""
    # Longest first keeps workers evenly busy to the end; the run_id makes the order of equal costs definite.
    return sorted(trajectories(cells), key=lambda job: (-job_flops(job), job.spec.run_id))


def job_tokens(job: Job) -> int:
    """Return the tokens that a job trains: the trunk once, and every cooldown branch."""
    steps = sum(segment.last - segment.first for segment in segments(job.spec, list(job.n_tokens)))
    return steps * job.spec.batch_tokens


def job_flops(job: Job) -> float:
    """Return the training FLOPs of a whole job, without evaluations."""
    return counting.train_flops(job.spec.model, job_tokens(job))
