"""The order in which a sweep trains: what is fitted, then the sealed forecast, then what was held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from harness.config.settings import GridSettings
from harness.grid.cells import Cell, jobs
from harness.grid.packs import Lanes, one_lane, open_packs
from harness.launch.interface import Outcome
from harness.launch.supervise import Supervisor
from harness.plan.plan import Plan
from harness.recipe.spec import Job, Pack
from harness.records.paths import SweepFolder
from harness.runs.collect import finished, write_tables
from harness.sweep.finish import enough_to_fit, seal_forecast


class Phases:
    """Trains a plan through a supervisor, phase after phase."""

    def __init__(
        self,
        plan: Plan,
        folder: SweepFolder,
        grid: GridSettings,
        console: Console,
        lanes: Lanes = one_lane,
    ):
        self._plan = plan
        self._folder = folder
        self._grid = grid
        self._console = console
        self._lanes = lanes

    def train(
        self, supervisor: Supervisor, watchers: Sequence[Callable[[list[Job]], None]]
    ) -> Iterator[Outcome]:
        """Yield each job's outcome; what no fit sees fills workers with nothing to do before its turn.

        `watchers` are told now and then which jobs are under way.
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
            if phase == self._plan.phases[-1]:
                supervisor.nothing_spare()
            supervisor.add(self._packs(due))
            yield from supervisor.outcomes(watch)

    def _packs(self, unfinished: list[Job]) -> list[Pack]:
        return open_packs(jobs(self._plan.cells), unfinished, self._lanes)

    def _before(self, phase: list[Cell]) -> None:
        """Seal the forecast when the hold-out is next and none of it has been trained, by nobody."""
        holdout = [cell for cell in self._plan.cells if cell.role == "holdout"]
        if any(cell.role == "holdout" for cell in phase) and not self._begun(holdout):
            points = write_tables(self._folder, self._plan.cells, self._grid.name)
            enough_to_fit(points)
            if seal_forecast(self._folder, points, holdout, self._grid.resamples):
                self._console.print(
                    f"forecast of {len(holdout)} held-out cells sealed in {self._folder.forecast}"
                )

    def _begun(self, holdout: list[Cell]) -> bool:
        return any(finished(self._folder, cell) for cell in holdout)
