"""The plan of a sweep: cells that are still open, their cost, and the memory that workers need."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import psutil

from harness.execution.execution import MeshConfig
from harness.execution.memory import DeviceMemory, device_memory
from harness.execution.micro_batch import micro_batch_size
from harness.grid.cells import Cell, job_flops, jobs, trajectories
from harness.grid.packs import Lanes, one_lane, packs
from harness.plan.speed import WORKER_START_SECONDS, makespan, step_rate
from harness.recipe import counting
from harness.recipe.spec import Job, Pack
from harness.records.errors import InputError
from harness.records.paths import SweepFolder
from harness.runs.collect import all_standings

# Memory of a worker besides its arrays: Python, JAX, compiled programs.
PROCESS_BYTES = 700e6


@dataclass(frozen=True)
class Plan:
    """All cells of a sweep, and those that are not finished.

    Attributes:
        cells: every cell of the grid.
        open_cells: cells without an end point.
        eval_tokens: tokens scored at every end point.
        lost: files of runs that were written once and cannot be used any more, a clause each; what they held
            is trained again.
    """

    cells: list[Cell]
    open_cells: list[Cell]
    eval_tokens: int
    lost: tuple[str, ...] = ()
    # Cache of `job_flops`, by run and token counts: counting expands all segments of a trajectory.
    _flops: dict[tuple[str, tuple[int, ...]], float] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def phases(self) -> list[list[Cell]]:
        """Open cells by phase: cells to fit come first, the hold-out after the forecast is sealed.

        References, which no fit sees, come with the hold-out. Empty phases are left out.
        """
        # Without an open hold-out no forecast is due, so references need not wait.
        late = ("holdout", "reference") if any(c.role == "holdout" for c in self.open_cells) else ()
        first = [cell for cell in self.open_cells if cell.role not in late]
        second = [cell for cell in self.open_cells if cell.role in late]
        return [phase for phase in (first, second) if phase]

    @property
    def spare_jobs(self) -> list[Job]:
        """Reference jobs of the last phase, which fill workers that have nothing to do in the first."""
        phases = self.phases
        return jobs([cell for cell in phases[-1] if cell.role == "reference"]) if len(phases) > 1 else []

    @cached_property
    def open_flops(self) -> float:
        """FLOPs of everything that is open, evaluations included."""
        return sum(self.job_flops(job) for phase in self.phases for job in self.phase_jobs(phase))

    @cached_property
    def _tokens(self) -> dict[str, list[int]]:
        """Token counts of every trajectory of the grid, trained or not."""
        found: dict[str, list[int]] = {}
        for cell in self.cells:
            found.setdefault(cell.spec.run_id, []).append(cell.n_tokens)
        return found

    def phase_jobs(self, phase: list[Cell]) -> list[Job]:
        """Return the jobs of a phase, the most expensive first."""
        return jobs(phase)

    def job_flops(self, job: Job) -> float:
        """Return the FLOPs that are left of a trajectory: new trunk steps, branches and evaluations."""
        key = job.spec.run_id, job.n_tokens
        if key not in self._flops:
            self._flops[key] = self._count(job)
        return self._flops[key]

    def _count(self, job: Job) -> float:
        """Estimate the FLOPs left of a job.

        A trunk goes on from the largest finished point below the open ones. All FLOPs of that point are taken
        off, its cooldown branch included, so the estimate is a little low.
        """
        ready = self._tokens[job.spec.run_id]
        trained = [n for n in ready if n not in job.n_tokens and n < min(job.n_tokens)]
        reused = trained and job.spec.schedule.has_trunk
        done = job_flops(Job(job.spec, (max(trained),))) if reused else 0.0
        evaluation = counting.forward_flops_token(job.spec.model) * self.eval_tokens * len(job.n_tokens)
        return max(0.0, job_flops(job) - done) + evaluation


def make_plan(folder: SweepFolder, cells: list[Cell], eval_tokens: int) -> Plan:
    """Return the plan: a cell is open if the results folder lacks its end point, or what that rests on."""
    found = list(zip(cells, all_standings(folder, cells), strict=True))
    lost = dict.fromkeys(standing.lost for _, standing in found if standing.lost is not None)
    open_cells = [cell for cell, standing in found if not standing.is_finished]
    return Plan(cells, open_cells, eval_tokens, tuple(lost))


def workers_bytes(cells: list[Cell], n_workers: int, n_shards: int, lanes: Lanes = one_lane) -> float:
    """Return the memory of all workers, in bytes, if each trains the largest pack.

    Args:
        cells: cells of the sweep.
        n_workers: workers on this machine.
        n_shards: parts into which the mesh cuts a batch.
        lanes: largest number of runs in one pack, by model.
    """

    def of_worker(pack: Pack) -> float:
        spec = pack[0].spec
        size = micro_batch_size(spec, n_shards)
        memory = device_memory(spec.model, MeshConfig(), "none", size, spec.optim.batch_size // size)
        return pack_bytes(memory, len(pack)) + PROCESS_BYTES

    # One pack of each kind is enough: others need as much memory.
    kinds = {(len(p), p[0].spec.model, p[0].spec.optim): p for p in packs(trajectories(cells), lanes)}
    return n_workers * max(of_worker(pack) for pack in kinds.values())


def pack_bytes(memory: DeviceMemory, n_runs: int) -> float:
    """Return the bytes of a pack on one device.

    Args:
        memory: memory of the training step of one of its runs.
        n_runs: runs in the pack.
    """
    # Each run holds its state, and the state of its trunk while a branch is trained. The program of a pack
    # holds all states once more, side by side.
    copies = 1 if n_runs == 1 else 2
    return n_runs * (memory.total + copies * memory.state)


def check_memory(cells: list[Cell], n_workers: int, n_shards: int, lanes: Lanes = one_lane) -> None:
    """Raise InputError if the workers' largest packs do not fit into free memory; see `workers_bytes`."""
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
    """Return the memory available without swapping, in bytes; None if the system does not say."""
    try:
        return float(psutil.virtual_memory().available)
    except OSError:  # For example a container without /proc.
        return None


def estimate_seconds(plan: Plan, matmul: float, n_workers: int) -> float:
    """Return the estimated wall-clock seconds of the open cells.

    Args:
        plan: the plan.
        matmul: FLOP/s of fp32 matrix products on one core.
        n_workers: workers that train at the same time, each on one core.
    """
    total = 0.0
    for phase in plan.phases:
        costs = [
            plan.job_flops(job) / step_rate(matmul, job.spec.model.d_model) for job in plan.phase_jobs(phase)
        ]
        # Phases do not overlap: each takes as long as its busiest worker.
        total += makespan(costs, n_workers) + WORKER_START_SECONDS
    return total
