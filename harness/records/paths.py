"""The names of all files under results/<sweep>/."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

CACHE = "SCALING_CACHE"  # environment variable that chooses the cache folder


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


@dataclass(frozen=True)
class SweepFolder:
    """Every file name under results/<sweep>/."""

    root: Path

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.json"

    @property
    def points(self) -> Path:
        return self.root / "points.parquet"

    @property
    def curves(self) -> Path:
        return self.root / "curves.parquet"

    @property
    def evals(self) -> Path:
        return self.root / "evals.parquet"

    @property
    def items(self) -> Path:
        return self.root / "items.parquet"

    @property
    def forecast(self) -> Path:
        return self.root / "forecast.json"

    @property
    def optim(self) -> Path:
        """The recipe that a learning-rate sweep found."""
        return self.root / "optim.yaml"

    @property
    def fits(self) -> Path:
        return self.root / "fits.json"

    @property
    def emergence(self) -> Path:
        """Verdicts on the tasks of a sweep that has evals.parquet."""
        return self.root / "emergence.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.runs / run_id)


@dataclass(frozen=True)
class RunFolder:
    """Every file name under results/<sweep>/runs/<run_id>/."""

    root: Path

    @property
    def run_id(self) -> str:
        return self.root.name

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    def read_state(self) -> dict[str, Any]:
        """What the run last said about itself; empty when it has not begun."""
        with contextlib.suppress(OSError, json.JSONDecodeError):
            return dict(json.loads(self.state.read_text()))
        return {}

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def lease(self) -> Path:
        """Who trains the run, see harness.launch.lease."""
        return self.root / "lease"

    @property
    def submission(self) -> Path:
        """Where the run was queued: launcher, job number and log."""
        return self.root / "submission.json"

    @property
    def cancel(self) -> Path:
        """There while the run is asked to save and stop; that of the whole sweep lies beside the runs."""
        return self.root / "cancel"

    @property
    def provenance(self) -> Path:
        """Code, versions, machine, configuration and command of every attempt."""
        return self.root / "provenance.json"

    @property
    def sinks(self) -> Path:
        return self.root / "sinks.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def curves(self) -> Path:
        return self.root / "curves"

    @property
    def points(self) -> Path:
        return self.root / "points"

    def point(self, point_id: str) -> Path:
        return self.points / f"{point_id}.json"

    @property
    def evals(self) -> Path:
        return self.root / "evals"

    @property
    def items(self) -> Path:
        return self.root / "items"

    def point_evals(self, point_id: str) -> Path:
        return self.evals / f"{point_id}.parquet"

    def step_evals(self, n_tokens: int) -> Path:
        """Of the trunk after so many tokens."""
        return self.evals / f"trunk-{n_tokens:015d}.parquet"

    def point_items(self, point_id: str) -> Path:
        return self.items / f"{point_id}.parquet"

    def curve_part(self, segment: str, first: int, last: int) -> Path:
        return self.curves / f"{segment}-{first:09d}-{last:09d}.parquet"
