"""From a grid's settings to cells, and from cells to jobs: one job a trajectory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from harness.config.settings import GridCells, GridSettings, SweepSettings
from harness.grid import rules as recipe
from harness.grid.rules import Rung
from harness.recipe import counting
from harness.recipe.schedule import check_reachable, segments
from harness.recipe.spec import GROUPS, SEPARATE_SCHEDULES, DataSpec, Job, RunSpec, ScheduleSpec
from harness.records.errors import InputError

ROLES = ("fit", "holdout", "reference", "lr")


@dataclass(frozen=True)
class Cell:
    """One (N, D) of a grid with its recipe; `role` says what its loss is used for."""

    spec: RunSpec
    n_tokens: int
    role: str

    @property
    def flops(self) -> float:
        return counting.train_flops(self.spec.model, self.n_tokens)

    @property
    def key(self) -> tuple[str, int]:
        return self.spec.run_id, self.n_tokens


def chosen_cells(grid: GridSettings, budget: str) -> GridCells:
    """What the user or the grid sets, filled up from the budget."""
    preset = grid.budgets.get(budget, GridCells())
    names = [field.name for field in fields(GridCells)]
    picked = {name: getattr(grid, name) for name in names}
    return GridCells(**{n: getattr(preset, n) if v is None else v for n, v in picked.items()})


def expand(settings: SweepSettings, data: DataSpec, vocab_size: int) -> list[Cell]:
    """All cells of the chosen grid and budget, each once, checked; raises InputError."""
    cells = chosen_cells(settings.grid, settings.budget)
    builder = _Builder(settings, data, vocab_size, cells)
    found = builder.cells()
    if not found:
        raise InputError(f"grid {settings.grid.name} has no cells: give grid.rungs=[…] and grid.n_tokens=[…]")
    unique = {cell.key: cell for cell in reversed(found)}
    for cell in unique.values():
        check_reachable(cell.spec, cell.n_tokens)
    ordered = sorted(unique.values(), key=lambda c: (c.spec.model.d_model, c.spec.seed, c.n_tokens, c.key))
    return _hold_out(ordered, cells.holdout_factor)


def _hold_out(cells: list[Cell], factor: float | None) -> list[Cell]:
    """Cells above 1/`factor` of the largest compute are held out; none for a factor of 1 or less."""
    if factor is None or factor <= 1:
        return cells
    candidates = [cell.flops for cell in cells if cell.role == "fit"]
    if not candidates:
        raise InputError(
            f"grid.holdout_factor={factor} needs cells to fit and this grid has none; "
            "set it to 1, which holds nothing out"
        )
    limit = max(candidates) / factor
    marked = [
        Cell(c.spec, c.n_tokens, "holdout") if c.role == "fit" and c.flops > limit else c for c in cells
    ]
    if not any(cell.role == "fit" for cell in marked):
        raise InputError(
            f"grid.holdout_factor={factor} leaves no cell to fit; lower it (1 holds nothing out)"
        )
    return marked


class _Builder:
    """Turns the lists of a grid into cells of one recipe."""

    def __init__(self, settings: SweepSettings, data: DataSpec, vocab_size: int, cells: GridCells):
        self.settings = settings
        self.data = data
        self.vocab_size = vocab_size
        self.chosen = cells
        self.smallest_steps = self._smallest_steps()
        # One object a trajectory, whose identity is then found once.
        self._specs: dict[tuple[Any, ...], RunSpec] = {}

    def cells(self) -> list[Cell]:
        if self.chosen.lr_scale:
            return self._lr_cells(self.chosen.lr_scale)
        return self._main_cells() + self._extra_cells() + self._reference_cells()

    @property
    def seeds(self) -> list[int]:
        return self.chosen.seeds or [0]

    @property
    def rungs(self) -> list[Rung]:
        depth = self.settings.model.n_layers
        return [Rung(d_model, depth) for d_model in self.chosen.rungs or []]

    def _smallest_steps(self) -> int:
        batch_tokens = self.settings.optim.batch_size * self.settings.model.seq_len
        tokens = [n for rung in self.rungs for n in self._tokens(rung)]
        tokens += [n for extra in self.chosen.extra or [] for n in extra.n_tokens]
        tokens += [r.n_tokens for r in self.chosen.references or []]
        return min(tokens, default=batch_tokens) // batch_tokens

    def _tokens(self, rung: Rung) -> list[int]:
        """Token counts of a rung: the grid's list, or solved from compute budgets."""
        model = recipe.model_spec(rung, self.settings.model, self.vocab_size)
        per_token = counting.train_flops_token(model)
        tokens = list(self.chosen.n_tokens or [])
        if self.chosen.flops:
            raster = self.settings.optim.batch_size * model.seq_len * self.settings.grid.log_interval
            tokens += [max(1, round(flops / per_token / raster)) * raster for flops in self.chosen.flops]
        limit = self.chosen.max_flops
        return [n for n in tokens if limit is None or n * per_token <= limit]

    def _main_cells(self) -> list[Cell]:
        return [
            cell
            for rung in self.rungs
            for seed in self.seeds
            for n_tokens in self._tokens(rung)
            for cell in [self._cell(rung, n_tokens, seed, "fit")]
        ]

    def _extra_cells(self) -> list[Cell]:
        depth = self.settings.model.n_layers
        return [
            self._cell(Rung(extra.d_model, depth), n_tokens, seed, "fit")
            for extra in self.chosen.extra or []
            for n_tokens in extra.n_tokens
            for seed in extra.seeds
        ]

    def _reference_cells(self) -> list[Cell]:
        depth = self.settings.model.n_layers
        if self.chosen.references and self.settings.optim.name == "schedule_free":
            raise InputError(
                "grid.references are runs with a cosine schedule and optim.name=schedule_free has none; "
                "add grid.references=[]"
            )
        return [
            self._cell(
                Rung(r.d_model, depth), r.n_tokens, seed, "reference", self._scale_all(scale), "cosine"
            )
            for r in self.chosen.references or []
            for scale in r.lr_scale
            for seed in r.seeds
        ]

    def _lr_cells(self, scales: dict[str, list[float]]) -> list[Cell]:
        """One group at a time around the recipe, at every rung and token count."""
        unknown = sorted(set(scales) - set(GROUPS))
        if unknown:
            raise InputError(
                f"grid.lr_scale has no parameter group {unknown[0]}; groups are {', '.join(GROUPS)}"
            )
        return [
            self._cell(rung, n_tokens, seed, "lr", {group: factor})
            for rung in self.rungs
            for seed in self.seeds
            for n_tokens in self._tokens(rung)
            for group, factors in scales.items()
            for factor in factors
        ]

    @staticmethod
    def _scale_all(scale: float) -> dict[str, float]:
        return dict.fromkeys(GROUPS, scale)

    def _cell(
        self,
        rung: Rung,
        n_tokens: int,
        seed: int,
        role: str,
        scale: dict[str, float] | None = None,
        schedule: str | None = None,
    ) -> Cell:
        kind = schedule or self.settings.optim.schedule
        own_length = n_tokens if kind in SEPARATE_SCHEDULES else None
        key = (rung, own_length, seed, tuple((scale or {}).items()), kind)
        if key not in self._specs:
            self._specs[key] = self._spec(rung, own_length, seed, scale or {}, kind)
        return Cell(self._specs[key], n_tokens, role)

    def _spec(
        self, rung: Rung, own_length: int | None, seed: int, scale: dict[str, float], kind: str
    ) -> RunSpec:
        """Recipe of a trajectory; `own_length` in tokens where it serves one token count alone."""
        settings = self.settings
        model = recipe.model_spec(rung, settings.model, self.vocab_size, settings.optim.transfer)
        n_steps = None if own_length is None else own_length // (settings.optim.batch_size * model.seq_len)
        return RunSpec(
            rung=rung.name,
            model=model,
            optim=recipe.optim_spec(rung, settings.optim, scale),
            schedule=ScheduleSpec(
                kind=kind,
                warmup_steps=recipe.warmup_steps(settings.optim, self.smallest_steps),
                cooldown_frac=settings.optim.cooldown_frac,
                final_lr_frac=settings.optim.final_lr_frac,
                n_steps=n_steps,
            ),
            data=self.data,
            seed=seed,
            log_interval=settings.grid.log_interval,
        )


def trajectories(cells: list[Cell]) -> list[Job]:
    """Cells of one trajectory together, in the order of the cells."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.spec.run_id, []).append(cell)
    return [Job(group[0].spec, tuple(sorted(cell.n_tokens for cell in group))) for group in groups.values()]


def jobs(cells: list[Cell]) -> list[Job]:
    """Trajectories, the most expensive first."""
    return sorted(trajectories(cells), key=lambda job: (-job_flops(job), job.spec.run_id))


def job_tokens(job: Job) -> int:
    """Tokens a job trains: the trunk once, each cooldown on its own."""
    steps = sum(segment.last - segment.first for segment in segments(job.spec, list(job.n_tokens)))
    return steps * job.spec.batch_tokens


def job_flops(job: Job) -> float:
    """Training FLOPs of a whole job, evaluation left out."""
    return counting.train_flops(job.spec.model, job_tokens(job))
