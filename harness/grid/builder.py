"""Cells of one grid from its lists, each with its recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from harness.config.schema import ExtraCells, GridCells, Shape, SweepSettings
from harness.grid import rules, token_rules
from harness.grid.cells import DEFAULT_SEED, Cell
from harness.grid.ladder import ladder_rungs
from harness.grid.rules import Rung
from harness.grid.token_rules import RunTokens
from harness.recipe import counting
from harness.recipe.spec import GROUPS, SEPARATE_SCHEDULES, DataSpec, ModelSpec, RunSpec, ScheduleSpec
from harness.records.errors import InputError


class CellBuilder:
    """Builder of cells from the lists of one grid, all under one recipe.

    Args:
        settings: the whole configuration of the sweep.
        data: which tokens are read and scored.
        vocab_size: number of token ids, the separator included.
        cells: the lists.
    """

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
        return rules.model_spec(rung, settings.model, self.vocab_size, settings.optim.transfer)

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
            self._cell(self._rung(extra), n_tokens, seed, "fit")
            for extra in self.chosen.extra or []
            for n_tokens in extra.n_tokens
            for seed in extra.seeds
        ]

    def _rung(self, listed: Shape | ExtraCells) -> Rung:
        """Return the rung of listed cells: the grid's own of that width and depth unless heads are given.

        Raises:
            InputError: the grid has several such rungs, and none of them has the usual heads.
        """
        rung = Rung.of(listed, self.settings.model)
        if listed.n_heads is not None or listed.n_kv_heads is not None:
            return rung
        own = [each for each in self.rungs if (each.d_model, each.n_layers) == (rung.d_model, rung.n_layers)]
        if not own or rung.name in (each.name for each in own):
            return rung
        if len(own) > 1:
            raise InputError(
                f"cells of d_model={rung.d_model} with {rung.n_layers} layers are listed, and one rung of "
                f"them was expected: the grid has {' and '.join(each.name for each in own)}; add n_heads and "
                "n_kv_heads to the entry"
            )
        return own[0]

    def repeated(self, cells: list[Cell]) -> list[Cell]:
        """Return the fitted ones among `cells` with each of the grid's `fit_seeds`.

        Cheap cells measure noise and pin the law down; the dear ones that are held out need no repetition.
        """
        fitted = dict.fromkeys((c.spec.model, c.n_tokens) for c in cells if c.role == "fit")
        return [
            self._cell(rung, n_tokens, seed, "fit")
            for model, n_tokens in fitted
            for rung in [Rung.of_model(model, self.settings.model)]
            for seed in self.chosen.fit_seeds or []
        ]

    def listed(self) -> list[Cell]:
        """Return the cells that the grid lists with their seeds and roles."""
        return [
            self._cell(self._rung(each), n_tokens, seed, each.role)
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
            self._cell(self._rung(Shape(r.d_model)), r.n_tokens, seed, "reference", scale, "cosine")
            for r in self.chosen.references or []
            for scale in (dict.fromkeys(GROUPS, factor) for factor in r.lr_scale)
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
            optim=rules.optim_spec(rung, settings.optim, scale, run),
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
            ends = [n for rung in self.rungs if self._model(rung) == model for n in self._tokens(rung)]
            ends += self._ends_in(self.chosen.extra, model)
            self._ends[model] = ends or self._ends_in(self.chosen.cells, model)
        return self._ends[model]

    def _ends_in(self, listed: Sequence[ExtraCells] | None, model: ModelSpec) -> list[int]:
        """Return the token counts of a model in a list of cells."""
        return [
            n_tokens
            for each in listed or []
            if self._model(self._rung(each)) == model
            for n_tokens in each.n_tokens
        ]
