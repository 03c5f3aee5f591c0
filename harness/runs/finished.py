"""Which end points of a run are finished: their files are there, readable, and of this run.

A point's file names the rest of what the point left behind (`rests_on`): how far its curve was logged, and
which task evaluations were written. If one of these files is lost, the end point counts as not
finished, and only what the file held is trained again. Points of earlier versions name no other file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.recipe.schedule import TRUNK, Segment, branch_start
from harness.recipe.spec import RunSpec
from harness.records.errors import Damaged
from harness.records.json_files import read_checked
from harness.records.paths import RunFolder
from harness.records.run_files import RunStatus

RESTS_ON = "rests_on"


@dataclass(frozen=True)
class RestsOn:
    """What an end point left behind besides its row.

    Attributes:
        curves: last logged step by segment; a trunk begins at step 0, a branch where it leaves the trunk.
        step_evals: token counts at which the trunk was evaluated on tasks.
        tasks: whether the end point was evaluated on tasks.
    """

    curves: Mapping[str, int] = field(default_factory=dict)
    step_evals: tuple[int, ...] = ()
    tasks: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the value of `rests_on` in a point's file."""
        return asdict(self)

    @property
    def trunk_end(self) -> int:
        """Last step of the trunk that the point rests on."""
        return self.curves.get(TRUNK, 0)


@dataclass(frozen=True)
class Standing:
    """Whether an end point is finished.

    Attributes:
        row: row of the point as its file has it; None if the file is missing or cannot be used.
        lost: what was written once and is no longer there or readable, in words; None if nothing is lost.
    """

    row: dict[str, Any] | None = None
    lost: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to train for the point."""
        return self.row is not None and self.lost is None


def standings(run: RunFolder, spec: RunSpec, n_tokens: Iterable[int]) -> dict[int, Standing]:
    """Return for each token count whether its end point is finished.

    A gap of the trunk counts against the smallest of the token counts that rests on it: training this one
    again fills the gap.

    Args:
        run: folder of the run.
        spec: recipe of the run.
        n_tokens: token counts to look at.
    """
    found: dict[int, Standing] = {}
    files, filled, opened = Parts(run), 0, []
    for tokens in sorted(n_tokens):
        point_id = spec.point_id(tokens)
        path = run.point(point_id)
        try:
            content = read_point_file(path, run.run_id, point_id)
        except Damaged as error:
            lost = f"{_short(path)} cannot be read ({error.reason})" if os.path.lexists(path) else None
            found[tokens] = Standing(None, lost)
            opened.append(tokens)
            continue
        rests_on = rests_on_of(content)
        if rests_on is None:
            found[tokens] = Standing(content)
            continue
        if spec.schedule.has_trunk and opened:
            # Training the open points fills every gap of the trunk up to their branches.
            filled = max(filled, branch_start(spec, opened[-1]))
        found[tokens] = Standing(content, files.lost(spec, point_id, rests_on, filled))
        filled = max(filled, rests_on.trunk_end)
    return found


def unfinished(run: RunFolder, spec: RunSpec, n_tokens: Sequence[int]) -> list[int]:
    """Return the token counts whose end points are not finished, in the order given."""
    found = standings(run, spec, n_tokens)
    return [tokens for tokens in n_tokens if not found[tokens].is_finished]


def read_point_file(path: Path, run_id: str, point_id: str) -> dict[str, Any]:
    """Return the content of a point's file: the columns of its row, and `rests_on`.

    Raises:
        Damaged: there is no such file, it has other content than was written, or belongs to another point.
    """
    content = read_checked(path)
    ids = {"run_id": run_id, "point_id": point_id}
    if not isinstance(content, dict) or not content.items() >= ids.items():
        raise Damaged(path, "it is of another run or point")
    return content


def rests_on_of(content: Mapping[str, Any]) -> RestsOn | None:
    """Return what the point of a file rests on; None in files of earlier versions."""
    found = content.get(RESTS_ON)
    if found is None:
        return None
    return RestsOn(found["curves"], tuple(found["step_evals"]), found["tasks"])


def kept_steps(run: RunFolder, spec: RunSpec, retrained: Iterable[int]) -> int:
    """Return the last step of the trunk that a finished end point rests on, planned or not; 0 without one.

    Args:
        run: folder of the run.
        spec: recipe of the run.
        retrained: token counts that are being trained and therefore keep nothing.
    """
    kept, open_points = 0, {spec.point_id(tokens) for tokens in retrained}
    for path in run.points.glob("*.json"):
        if path.stem in open_points:
            continue
        try:
            content = read_point_file(path, spec.run_id, path.stem)
        except Damaged:
            continue
        rests_on = rests_on_of(content)
        if rests_on is not None:
            kept = max(kept, rests_on.trunk_end)
        elif spec.schedule.has_trunk and content.get("status") == RunStatus.DONE:
            kept = max(kept, branch_start(spec, content["n_tokens"]))
    return kept


class Parts:
    """Names of the files of a run besides its points; each folder is listed once.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: RunFolder):
        self._run = run
        self._names: dict[Path, set[str]] = {}
        self._spans: dict[str, list[tuple[int, int]]] | None = None

    def lost(self, spec: RunSpec, point_id: str, rests_on: RestsOn, filled: int) -> str | None:
        """Return what is missing of that on which an end point rests, in words; None if all is there.

        Args:
            spec: recipe of the run.
            point_id: the end point.
            rests_on: what its file names.
            filled: last step of the trunk that another end point answers for.
        """
        for name, last in rests_on.curves.items():
            first = 0 if name == TRUNK else branch_start(spec, int(name.rpartition("-")[2]))
            reached = self.reached(name, first, spec.log_interval, filled if name == TRUNK else 0)
            if reached < last:
                return f"{self._run.run_id}/curves lacks steps of {name} after {reached}"
        for tokens in rests_on.step_evals:
            path = self._run.step_evals(tokens)
            if tokens > filled * spec.batch_tokens and not self.has(path):
                return f"{_short(path)} is missing"
        for path in self._of_tasks(point_id) if rests_on.tasks else ():
            if not self.has(path):
                return f"{_short(path)} is missing"
        return None

    def reached(self, segment: str, first: int, interval: int, filled: int = 0) -> int:
        """Return the step up to which the parts of a segment hold every logged step.

        Args:
            segment: name of the segment.
            first: first step of the segment.
            interval: steps from one row to the next.
            filled: step up to which the rows are taken to be there.
        """
        reached = max(first, filled)
        for begin, end in self.spans(segment):
            if begin > reached + interval:
                break
            reached = max(reached, end)
        return reached

    def spans(self, segment: str) -> list[tuple[int, int]]:
        """Return the first and last step of every part of a segment, in order."""
        if self._spans is None:
            self._spans = {}
            for name in self._listed(self._run.curves):
                words = name.removesuffix(".parquet").rsplit("-", 2)
                if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
                    self._spans.setdefault(words[0], []).append((int(words[1]), int(words[2])))
        return sorted(self._spans.get(segment, []))

    def has(self, path: Path) -> bool:
        """Return whether a file is there; whether it can be read is seen when it is read."""
        return path.name in self._listed(path.parent)

    def _of_tasks(self, point_id: str) -> tuple[Path, Path]:
        return self._run.point_evals(point_id), self._run.point_items(point_id)

    def _listed(self, folder: Path) -> set[str]:
        """Return the names of the tables of a folder that are files."""
        if folder not in self._names:
            self._names[folder] = set()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
                found = {entry.name for entry in entries if entry.is_file()}
                self._names[folder] = {name for name in found if name.endswith(".parquet")}
        return self._names[folder]


def rests_on_recipe(spec: RunSpec, n_tokens: int, step_evals: Iterable[int] | None) -> RestsOn:
    """Return what a point rests on that ended as its recipe says.

    Args:
        spec: recipe of the run.
        n_tokens: token count of the point.
        step_evals: token counts at which this run evaluates tasks on the way; None if it has no tasks.
    """
    last = spec.n_steps(n_tokens)
    trunk = branch_start(spec, n_tokens) if spec.schedule.has_trunk else last
    curves = {TRUNK: trunk} | ({Segment(trunk, last, n_tokens).name: last} if last > trunk else {})
    return RestsOn(
        {name: step for name, step in curves.items() if step},
        tuple(tokens for tokens in step_evals or () if tokens <= trunk * spec.batch_tokens),
        step_evals is not None,
    )


def rests_on_files(run: RunFolder, spec: RunSpec, n_tokens: int) -> RestsOn:
    """Return what a point rests on that was not reached: what there is when its run ends."""
    files = Parts(run)
    names = {TRUNK: 0}
    if spec.schedule.has_trunk:
        names[Segment(0, 0, n_tokens).name] = branch_start(spec, n_tokens)
    curves = {name: files.reached(name, first, spec.log_interval) for name, first in names.items()}
    written = (path.stem.rpartition("-")[2] for path in sorted(run.evals.glob("trunk-*.parquet")))
    return RestsOn(
        {name: step for name, step in curves.items() if step > names[name]},
        tuple(int(tokens) for tokens in written if tokens.isdigit()),
    )


def _short(path: Path) -> str:
    """Return a file's path below runs/."""
    return "/".join(path.parts[-3:])
