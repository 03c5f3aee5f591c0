"""The index: every sweep below a folder with its state, its progress and its headline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.records.emergence import read_emergence
from analysis.records.fits import read_study
from analysis.records.replications import read_replications_record
from analysis.replications import text as replications_text
from analysis.report.lead import answer
from analysis.serve.folder import REPLICATIONS, REPORT, Found, served_file
from harness.records.columns import checked_points
from harness.records.errors import CONTRADICTIONS, InputError
from harness.records.files import read_table, version
from harness.records.number_text import DASH, duration
from harness.records.paths import SweepFolder
from harness.records.status.progress import SweepState, cooldown_share, headline, sweep_state
from harness.records.status.rows import RunRow, read_sweep, run_rows
from harness.records.sweep_file import SweepRecord

DAMAGED = "damaged"
# States that a reader should see first, in this order; finished sweeps come last.
ORDER = [*(state for state in SweepState if state != SweepState.FINISHED), DAMAGED, SweepState.FINISHED]
FEW = 5  # sweeps of a folder that are shown without a click


@dataclass(frozen=True)
class Entry:
    """One sweep of the index.

    Attributes:
        name: path below the folder that is served.
        state: state of the sweep, or `damaged`.
        headline: sentences; of a damaged sweep the reason.
        grid: grid and budget.
        n_finished: end points that are recorded.
        n_planned: end points of the plan.
        wall_clock: time that training, fits and report took; a dash if unknown.
        has_report: whether there is a report to open.
    """

    name: str
    state: str
    headline: tuple[str, ...]
    grid: str = ""
    n_finished: int = 0
    n_planned: int = 0
    wall_clock: str = DASH
    has_report: bool = False


@dataclass(frozen=True)
class Group:
    """Sweeps of one folder.

    Attributes:
        name: the folder; empty for the one that is served.
        entries: its sweeps, running ones first.
        headline: sentences of a study of them as replications; empty without one.
        report_of: name of the folder with the report of that study; None without a report.
    """

    name: str
    entries: tuple[Entry, ...]
    headline: tuple[str, ...] = ()
    report_of: str | None = None

    @property
    def states(self) -> str:
        """How many sweeps have each state, such as `2 running, 18 finished`."""
        counts = Counter(entry.state for entry in self.entries)
        return ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])

    @property
    def is_open(self) -> bool:
        """Whether the sweeps are shown without a click."""
        return len(self.entries) <= FEW or any(entry.state != SweepState.FINISHED for entry in self.entries)


class Index:
    """Entries of all sweeps; what was not written anew is not read again.

    Args:
        root: the folder that is served, without links in its path.
    """

    def __init__(self, root: Path):
        self._root = root
        self._kept: dict[tuple[str, Path], tuple[object, Any]] = {}

    def groups(self, found: Found) -> list[Group]:
        """Return the sweeps by the folder that they lie in."""
        groups: dict[Path, list[Entry]] = {path: [] for path in found.replications.values()}
        for name, path in found.sweeps.items():
            groups.setdefault(path if path == self._root else path.parent, []).append(self.entry(name, path))
        return [self._group(path, entries, found) for path, entries in sorted(groups.items())]

    def _group(self, path: Path, entries: list[Entry], found: Found) -> Group:
        entries.sort(key=lambda entry: (ORDER.index(entry.state), entry.name))
        name = path.relative_to(self._root).as_posix().removeprefix(".")
        study = next((each for each, folder in found.replications.items() if folder == path), None)
        if study is None:
            return Group(name, tuple(entries))
        said = self._once("study", path, [REPLICATIONS], _study_headline)
        return Group(name, tuple(entries), said, study if self._has_report(path) else None)

    def entry(self, name: str, path: Path) -> Entry:
        """Return the entry of one sweep; one that cannot be read is `damaged`, with the reason."""
        try:
            # Tables do not change by themselves, but the runs of a sweep are written at any moment.
            if (path / "runs").is_dir():
                return self._entry(name, path)
            own = SweepFolder(path)
            files = [each.name for each in (own.sweep, own.points, own.fits, own.emergence, own.report)]
            return self._once("entry", path, files, lambda folder: self._entry(name, folder))
        except (InputError, OSError) as error:
            return Entry(name, DAMAGED, (trouble(error, path),))

    def _entry(self, name: str, path: Path) -> Entry:
        folder = SweepFolder(path)
        record = read_sweep(folder)
        rows = run_rows(folder, record)
        return Entry(
            name,
            sweep_state(rows),
            self._headline(folder, record, rows),
            f"{record.grid}, {record.budget}",
            sum(row.n_finished for row in rows),
            sum(len(row.cells) for row in rows),
            wall_clock(record),
            self._has_report(path),
        )

    def _headline(self, folder: SweepFolder, record: SweepRecord, rows: list[RunRow]) -> tuple[str, ...]:
        """Return the answer of the sweep's study if it has ended, else the progress of its runs."""
        if folder.fits.exists() and sweep_state(rows) not in (SweepState.RUNNING, SweepState.WAITING):
            files = [each.name for each in (folder.fits, folder.points, folder.emergence)]
            return self._once("answer", folder.root, files, _answer)
        return (f"{headline(rows, cooldown_share(record.config.get('optim')))}.",)

    def _has_report(self, path: Path) -> bool:
        return served_file(self._root, path, REPORT) is not None

    def _once(self, what: str, folder: Path, files: Iterable[str], read: Callable[[Path], Any]) -> Any:
        """Return what is read of a folder, read again only if one of the `files` was written anew."""
        state = tuple(version(folder / name) for name in files)
        kept = self._kept.get((what, folder))
        if kept is None or kept[0] != state:
            kept = self._kept[what, folder] = (state, read(folder))
        return kept[1]


def trouble(error: InputError | OSError, path: Path) -> str:
    """Return the sentence on a sweep whose files cannot be read, for want of permission or of a disk too."""
    if isinstance(error, InputError):
        return f"{error}."
    return f"{error.filename or path} cannot be read ({(error.strerror or 'refused').lower()})."


def wall_clock(record: SweepRecord) -> str:
    """Return the time that a sweep took so far, fits and report included; a dash before it is recorded."""
    return duration(max(record.seconds_total, record.seconds) or None)


def answer_of(path: Path) -> tuple[str, ...]:
    """Return the sentences that open the report of a sweep.

    Raises:
        InputError: fits.json or a table cannot be read.
    """
    folder = SweepFolder(path)
    points = checked_points(read_table(folder.points), folder.points)
    emergence = read_emergence(folder.emergence) if folder.emergence.exists() else None
    return tuple(answer(read_study(folder.fits), points, emergence))


def _answer(path: Path) -> tuple[str, ...]:
    try:
        return answer_of(path)
    except InputError as error:
        return (f"{error}.",)
    except CONTRADICTIONS as error:
        return (f"Fits and points contradict each other ({error}): type the sweep's command again.",)


def _study_headline(path: Path) -> tuple[str, ...]:
    try:
        return tuple(replications_text.lead(read_replications_record(path / REPLICATIONS)))
    except CONTRADICTIONS as error:
        return (f"{error}.",)
