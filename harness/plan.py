"""The plan of a sweep, printed before anything is trained: cells, sizes, cost, memory, minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from harness import counting, recipe
from harness.collect import finished
from harness.execution import MeshConfig
from harness.grid import Cell, job_flops, job_tokens, jobs, trajectories
from harness.launch.calibrate import WORKER_START_SECONDS, makespan, step_rate
from harness.launch.interface import Pack
from harness.launch.packing import Lanes, one_lane, packs
from harness.memory import device_memory
from harness.records import InputError, SweepFolder
from harness.spec import Job
from harness.train.step_size import micro_batch_size

# Memory of a worker beside its arrays: Python, JAX, compiled programs.
PROCESS_BYTES = 700e6
# A larger plan is printed with one row for all seeds of a cell.
MAX_ROWS = 300
COLUMNS = ["rung", "N", "matmul", "body", "D", "D/N", "FLOPs", "lr", "steps", "seed", "role", "state"]


@dataclass(frozen=True)
class Plan:
    """All cells of a sweep, which of them are open, and in which order they are trained."""

    cells: list[Cell]
    open_cells: list[Cell]
    n_eval_tokens: int
    # What `job_flops` has counted, by run and token counts.
    _flops: dict[tuple[str, tuple[int, ...]], float] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def phases(self) -> list[list[Cell]]:
        """What is fitted comes first; the hold-out is trained after the forecast is sealed.

        References, which no fit sees, come with the hold-out.
        """
        late = ("holdout", "reference") if any(c.role == "holdout" for c in self.open_cells) else ()
        first = [cell for cell in self.open_cells if cell.role not in late]
        second = [cell for cell in self.open_cells if cell.role in late]
        return [phase for phase in (first, second) if phase]

    @property
    def spare_jobs(self) -> list[Job]:
        """Jobs of the last phase that fill workers with nothing to do before: the references."""
        phases = self.phases
        return jobs([cell for cell in phases[-1] if cell.role == "reference"]) if len(phases) > 1 else []

    @cached_property
    def open_flops(self) -> float:
        return sum(self.job_flops(job) for phase in self.phases for job in self.phase_jobs(phase))

    @cached_property
    def _tokens(self) -> dict[str, list[int]]:
        """Token counts of every trajectory of the grid, trained or not."""
        found: dict[str, list[int]] = {}
        for cell in self.cells:
            found.setdefault(cell.spec.run_id, []).append(cell.n_tokens)
        return found

    def phase_jobs(self, phase: list[Cell]) -> list[Job]:
        return jobs(phase)

    def job_flops(self, job: Job) -> float:
        """FLOPs of what is left of a trajectory: new trunk steps, branches, evaluations."""
        key = job.spec.run_id, job.n_tokens
        if key not in self._flops:
            self._flops[key] = self._count(job)
        return self._flops[key]

    def _count(self, job: Job) -> float:
        ready = self._tokens[job.spec.run_id]
        trained = [n for n in ready if n not in job.n_tokens and n < min(job.n_tokens)]
        reused = trained and job.spec.schedule.has_trunk
        done = job_flops(Job(job.spec, (max(trained),))) if reused else 0.0
        evaluation = counting.forward_flops_token(job.spec.model) * self.n_eval_tokens * len(job.n_tokens)
        return max(0.0, job_flops(job) - done) + evaluation


def make_plan(folder: SweepFolder, cells: list[Cell], n_eval_tokens: int) -> Plan:
    """Compare the grid with what the results folder holds."""
    return Plan(cells, [cell for cell in cells if not finished(folder, cell)], n_eval_tokens)


def workers_bytes(cells: list[Cell], n_workers: int, n_shards: int, lanes: Lanes = one_lane) -> float:
    """Memory of the workers on their largest pack, each run of it with a snapshot of its trunk's state.

    The program of several runs holds their states a second time, side by side.
    """

    def of_worker(pack: Pack) -> float:
        spec, copies = pack[0].spec, 1 if len(pack) == 1 else 2
        size = micro_batch_size(spec, n_shards)
        memory = device_memory(spec.model, MeshConfig(), "none", size, spec.optim.batch_size // size)
        return len(pack) * (memory.total + copies * memory.state) + PROCESS_BYTES

    # One of each kind is enough to look at.
    kinds = {(len(p), p[0].spec.model, p[0].spec.optim): p for p in packs(trajectories(cells), lanes)}
    return n_workers * max(of_worker(pack) for pack in kinds.values())


def check_memory(cells: list[Cell], n_workers: int, n_shards: int, lanes: Lanes = one_lane) -> None:
    """Raise InputError when the workers' largest packs do not fit into free memory."""
    available = available_bytes()
    total = workers_bytes(cells, n_workers, n_shards, lanes)
    if available is not None and total > available:
        packed = any(len(pack) > 1 for pack in packs(trajectories(cells), lanes))
        keys = "launcher.n_workers, " + ("launcher.pack, " if packed else "")
        raise InputError(
            f"{n_workers} workers need about {total / 1e9:.1f} GB for the largest rung and "
            f"{available / 1e9:.1f} GB are free; lower {keys}grid.rungs or optim.batch_size"
        )


def available_bytes() -> float | None:
    """Memory that can be had without swapping, or None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def estimate_seconds(plan: Plan, matmul: float, n_workers: int) -> float:
    """Wall-clock of what is open, from the matmul rate of one core."""
    total = 0.0
    for phase in plan.phases:
        costs = [
            plan.job_flops(job) / step_rate(matmul, job.spec.model.d_model) for job in plan.phase_jobs(phase)
        ]
        total += makespan(costs, n_workers) + WORKER_START_SECONDS
    return total


def tokens_saved(cells: list[Cell]) -> tuple[int, int]:
    """Tokens that the plan trains, and those of a separate run for every cell."""
    return sum(job_tokens(job) for job in trajectories(cells)), sum(cell.n_tokens for cell in cells)


def print_plan(
    console: Console, plan: Plan, seconds: Callable[[], float], n_workers: int, lanes: Lanes = one_lane
) -> None:
    """One row a cell (of a large plan one for all its seeds), then totals and rules that cells break.

    `seconds` that it will take are asked for last, since they may still have to be found out.
    """
    title = f"{len(plan.cells)} cells, {len(plan.open_cells)} to train"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("rung", "role", "state") else "right", no_wrap=True)
    for row in _rows(plan) if len(plan.cells) <= MAX_ROWS else _rows_of_seeds(plan):
        table.add_row(*row)
    console.print(table)
    for line in rule_lines(plan.cells):
        console.print(f"note: {line}")
    memory = workers_bytes(plan.cells, n_workers, 1, lanes)
    trained, separate = tokens_saved(plan.cells)
    console.print(
        f"to train: {plan.open_flops:.2e} FLOPs with evaluations, about {seconds() / 60:.1f} minutes on "
        f"{n_workers} worker(s) with {memory / 1e9:.1f} GB"
    )
    console.print(
        f"trunks with branches train {trained / 1e6:.1f} M tokens, separate runs would train "
        f"{separate / 1e6:.1f} M ({trained / separate:.2f})"
    )


def si(value: float) -> str:
    """Three digits and a prefix: 25.7k, 1.05M."""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{prefix}"
    return f"{value:.3g}"


def _rows(plan: Plan) -> Iterator[list[str]]:
    open_keys = {cell.key for cell in plan.open_cells}
    for cell in plan.cells:
        yield _row(cell, str(cell.spec.seed), "open" if cell.key in open_keys else "done")


def _rows_of_seeds(plan: Plan) -> Iterator[list[str]]:
    """Cells that differ in nothing but their seed as one row."""
    groups: dict[Any, list[Cell]] = {}
    for cell in plan.cells:
        alike = cell.spec.model.d_model, cell.n_tokens, cell.role, cell.spec.schedule.kind, cell.spec.optim
        groups.setdefault(alike, []).append(cell)
    open_keys = {cell.key for cell in plan.open_cells}
    for group in groups.values():
        n_open = sum(cell.key in open_keys for cell in group)
        yield _row(group[0], f"{len(group)} seeds", f"{n_open} open" if n_open else "done")


def _row(cell: Cell, seed: str, state: str) -> list[str]:
    model = cell.spec.model
    n = counting.n_params(model)
    return [
        cell.spec.rung,
        si(n),
        si(counting.n_params_matmul(model)),
        si(counting.n_params_body(model)),
        si(cell.n_tokens),
        f"{cell.n_tokens / n:.1f}",
        f"{cell.flops:.1e}",
        f"{cell.spec.optim.hidden_lr:.2g}",
        f"{cell.spec.n_steps(cell.n_tokens):,}",
        seed,
        cell.role,
        state,
    ]


def rule_lines(cells: list[Cell]) -> list[str]:
    """How many cells break which rule of the method, one line a rule."""
    broken: dict[str, list[str]] = {}
    for cell in cells:
        steps = cell.spec.n_steps(cell.n_tokens)
        schedule = cell.spec.schedule
        # Other schedules cool down all the way, or average instead.
        cooldown_frac = schedule.cooldown_frac if schedule.kind == "wsd" else 1.0
        breaks = recipe.rule_breaks(steps, cooldown_frac, cell.spec.model)
        for text in breaks:
            broken.setdefault(text, []).append(cell.spec.rung)
    return [
        f"{len(rungs)} of {len(cells)} cells have {text} ({', '.join(dict.fromkeys(rungs))})"
        for text, rungs in broken.items()
    ]
