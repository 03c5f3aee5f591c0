"""Names of the files under results/<sweep>/."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import platformdirs

from harness.records.run_files import RunState, read_state

CACHE = "SCALING_CACHE"  # environment variable that chooses the cache folder
LATER_FORECAST = re.compile(r"forecast-([1-9]\d{0,5})\.json")


def cache_root() -> Path:
    """Return the folder of everything that can be made or downloaded again.

    It is $SCALING_CACHE, or else the system's folder for caches: ~/.cache/scaling-harness on Linux.
    """
    given = os.environ.get(CACHE)
    if given:
        return Path(given).expanduser()
    # Earlier versions had this folder on every system, and whatever $XDG_CACHE_HOME says.
    earlier = Path.home() / ".cache" / "scaling-harness"
    return earlier if earlier.is_dir() else platformdirs.user_cache_path("scaling-harness", appauthor=False)


def programs_folder(cache: Path) -> Path:
    """Return the folder of a cache that keeps compiled programs."""
    return cache / "compiled"


def forecast_number(path: Path) -> int:
    """Return the number of a forecast's file in the order of sealing, from 1.

    >>> forecast_number(Path("forecast.json")), forecast_number(Path("forecast-2.json"))
    (1, 2)
    """
    found = LATER_FORECAST.fullmatch(path.name)
    return int(found[1]) if found else 1


@dataclass(frozen=True)
class SweepFolder:
    """Folder results/<sweep>/ with the names of its files."""

    root: Path

    @property
    def sweep(self) -> Path:
        """Configuration, plan and provenance of the sweep."""
        return self.root / "sweep.json"

    @property
    def points(self) -> Path:
        """One row per finished end point: the input of every fit."""
        return self.root / "points.parquet"

    @property
    def curves(self) -> Path:
        """One row per logged step."""
        return self.root / "curves.parquet"

    @property
    def evals(self) -> Path:
        """One row per metric of a task evaluation."""
        return self.root / "evals.parquet"

    @property
    def items(self) -> Path:
        """One row per test item of an end point."""
        return self.root / "items.parquet"

    @property
    def forecast(self) -> Path:
        """The first sealed forecast of held-out cells."""
        return self.numbered_forecast(1)

    def numbered_forecast(self, number: int) -> Path:
        """Return the file of a sealed forecast, in the order of sealing from 1."""
        return self.root / ("forecast.json" if number == 1 else f"forecast-{number}.json")

    @property
    def forecasts(self) -> list[Path]:
        """The sealed forecasts that are there, in the order of sealing."""
        found = [self.forecast] if os.path.lexists(self.forecast) else []
        named = {
            int(m[1]): path
            for path in self.root.glob("forecast-*.json")
            if (m := LATER_FORECAST.fullmatch(path.name))
        }
        return found + [named[number] for number in sorted(named) if number > 1]

    @property
    def optim(self) -> Path:
        """The recipe that a learning-rate sweep found."""
        return self.root / "optim.yaml"

    @property
    def fits(self) -> Path:
        """All fits, the frontier and the score of the forecast."""
        return self.root / "fits.json"

    @property
    def emergence(self) -> Path:
        """Verdicts on the tasks of a sweep that has evals.parquet."""
        return self.root / "emergence.json"

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        """Folder with the figures of the report."""
        return self.root / "figures"

    @property
    def derived(self) -> Path:
        """What tables, fits and report were made from."""
        return self.root / "derived.json"

    @property
    def log(self) -> Path:
        """Folder with the output of cluster jobs."""
        return self.root / "log"

    @cached_property
    def runs(self) -> Path:
        """Folder with one folder per run."""
        return self.root / "runs"

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.runs / run_id)


@dataclass(frozen=True)
class RunFolder:
    """Folder results/<sweep>/runs/<run_id>/ with the names of its files."""

    root: Path

    @property
    def run_id(self) -> str:
        """Hash of the recipe, which is the folder's name."""
        return self.root.name

    @property
    def spec(self) -> Path:
        """The recipe of the trajectory."""
        return self.root / "spec.json"

    @property
    def state(self) -> Path:
        """Status, progress and failures of the run, see harness.runs.state."""
        return self.root / "state.json"

    def read_state(self) -> RunState:
        """Return the last state that was written; its status is None if the run has not begun."""
        return read_state(self.state)

    @property
    def log(self) -> Path:
        """Warnings and tracebacks of the run."""
        return self.root / "log.txt"

    @property
    def lease(self) -> Path:
        """Folder of the lease that lets one worker at a time train the run, see harness.launch.lease."""
        return self.root / "lease"

    @property
    def submission(self) -> Path:
        """Launcher, job number and log of the run's last submission to a queue."""
        return self.root / "submission.json"

    @property
    def cancel(self) -> Path:
        """Request to save and stop this run, while it exists; runs/cancel asks for the whole sweep."""
        return self.root / "cancel"

    @property
    def provenance(self) -> Path:
        """Code, versions, machine, configuration and command of every attempt."""
        return self.root / "provenance.json"

    @property
    def sinks(self) -> Path:
        """Last steps that each sink has been given."""
        return self.root / "sinks.json"

    @property
    def checkpoints(self) -> Path:
        """Folder with the checkpoints of trunk and branches."""
        return self.root / "checkpoints"

    @property
    def curves(self) -> Path:
        """Folder with the parts of the curves."""
        return self.root / "curves"

    @cached_property
    def points(self) -> Path:
        """Folder with one file per end point."""
        return self.root / "points"

    def point(self, point_id: str) -> Path:
        """Return the file of an end point."""
        return self.points / f"{point_id}.json"

    @property
    def evals(self) -> Path:
        """Folder with the task evaluations of trunk and end points."""
        return self.root / "evals"

    @property
    def items(self) -> Path:
        """Folder with the scores of test items at end points."""
        return self.root / "items"

    def point_evals(self, point_id: str) -> Path:
        """Return the task evaluation of an end point."""
        return self.evals / f"{point_id}.parquet"

    def step_evals(self, n_tokens: int) -> Path:
        """Return the task evaluation of the trunk after `n_tokens`."""
        # Zeros in front, so that names sort like numbers.
        return self.evals / f"trunk-{n_tokens:015d}.parquet"

    @property
    def weights(self) -> Path:
        """Folder with the parameters of the end points that keep theirs."""
        return self.root / "weights"

    def point_weights(self, point_id: str) -> Path:
        """Return the parameters of an end point."""
        return self.weights / f"{point_id}.safetensors"

    def point_items(self, point_id: str) -> Path:
        """Return the scores of test items at an end point."""
        return self.items / f"{point_id}.parquet"

    def curve_part(self, segment: str, first: int, last: int) -> Path:
        """Return the part of a segment's curve with the steps `first` to `last`."""
        return self.curves / f"{segment}-{first:09d}-{last:09d}.parquet"
