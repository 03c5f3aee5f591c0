"""Phases of a sweep: first train the cells to fit, then seal the forecast, then train the held-out cells.

The order makes the forecast honest: it is written before any held-out loss exists. Jobs whose cells no fit
uses, such as cosine references, are spare: they fill workers that would otherwise be idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from harness.config.schema import GridSettings
from harness.grid.cells import Cell, jobs
from harness.grid.packs import Lanes, one_lane, open_packs
from harness.launch.interface import Outcome
from harness.launch.supervise import Supervisor
from harness.plan.plan import Plan
from harness.recipe.spec import Job, Pack
from harness.records.errors import Damaged
from harness.records.paths import SweepFolder
from harness.runs.collect import write_tables
from harness.sweep.finish import enough_to_fit
from harness.sweep.forecasts import Seal, seal_forecast, unseen


class Phases:
    """Training of a plan, phase after phase.

    Args:
        plan: cells, in phases.
        folder: folder of the sweep.
        grid: settings of the grid.
        console: where to print.
        lanes: largest number of runs in one pack, by model.
        when_sealed: receives a forecast as soon as it is sealed.

    Attributes:
        damaged: files of runs that could not be read when the forecast was sealed.
    """

    def __init__(
        self,
        plan: Plan,
        folder: SweepFolder,
        grid: GridSettings,
        console: Console,
        lanes: Lanes = one_lane,
        when_sealed: Callable[[Seal], None] = lambda _: None,
    ):
        self.damaged: list[Damaged] = []
        self._plan = plan
        self._folder = folder
        self._grid = grid
        self._console = console
        self._lanes = lanes
        self._when_sealed = when_sealed

    def train(
        self, supervisor: Supervisor, watchers: Sequence[Callable[[list[Job]], None]]
    ) -> Iterator[Outcome]:
        """Train all open jobs and yield the outcome of each.

        Args:
            supervisor: submits packs and repeats failed attempts.
            watchers: receive the running jobs now and then, to show progress.
        """

        def watch(running: list[Job]) -> None:
            for watcher in watchers:
                watcher(running)

        spare = self._plan.spare_jobs
        spare_ids = {job.spec.run_id for job in spare}
        supervisor.add(self._packs(spare), spare=True)
        for phase in self._plan.phases:
            self._before(phase)
            due = [job for job in self._plan.phase_jobs(phase) if job.spec.run_id not in spare_ids]
            # The sweep ends with this phase, so the spare jobs that are left are due as well.
            if phase == self._plan.phases[-1]:
                supervisor.nothing_spare()
            supervisor.add(self._packs(due))
            yield from supervisor.outcomes(watch)

    def _packs(self, unfinished: list[Job]) -> list[Pack]:
        """Return the packs of the unfinished jobs, cut as for the whole plan (see `open_packs`)."""
        return open_packs(jobs(self._plan.cells), unfinished, self._lanes)

    def _before(self, phase: list[Cell]) -> None:
        """Seal a forecast of the held-out cells that are next, unless all of them are forecast already.

        Cells that any driver has trained are left out: a forecast of them would come too late.
        """
        if not any(cell.role == "holdout" for cell in phase) or not unseen(self._folder, self._plan.cells):
            return
        points = write_tables(self._folder, self._plan.cells, self._grid.name, self.damaged)
        enough_to_fit(points)
        seal = seal_forecast(self._folder, points, self._plan.cells, self._grid.resamples)
        if seal is not None:
            self._when_sealed(seal)
            self._console.print(f"forecast of {seal.n_cells} held-out cells sealed in {seal.path}")
