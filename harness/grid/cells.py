"""Cells (N, D) of a grid, and jobs from cells: one job per trajectory."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from harness.config.schema import GridCells, GridSettings
from harness.recipe import counting
from harness.recipe.schedule import segments
from harness.recipe.spec import Job, RunSpec
from harness.records.columns import ARM_ROLE

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
