"""What a plan does to the sealed forecasts of a sweep: changed roles, new forecasts, cells without one.

And where its running runs will end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from analysis.curves.watch import SweepWatch
from analysis.records.forecast import ForecastRecord
from harness.grid.cells import Cell
from harness.records.number_text import si
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepRecord
from harness.sweep.forecasts import foreign_forecasts, intact, place, unforecast, unseen
from harness.track.progress import Ends

MAX_NAMED = 6  # cells that a note names one by one
LOOK_SECONDS = 5.0  # between two looks at the curves of running runs


def notes_on_forecasts(
    folder: SweepFolder, before: SweepRecord | None, cells: list[Cell], seals: Collection[str | None]
) -> list[str]:
    """Return what a plan does to the forecasts of a sweep that has begun, one sentence each.

    Args:
        folder: folder of the sweep.
        before: record of earlier invocations; None if there was none.
        cells: cells of the plan.
        seals: what `check_forecasts` returned.
    """
    foreign = _notes_on_foreign(folder, before, cells) if folder.runs.exists() else []
    if before is None:
        return foreign
    sealed = [forecast for forecast in intact(folder).values() if forecast.sha256 in seals]
    return [
        *foreign,
        *_notes_on_roles(before, cells, sealed),
        *_notes_on_new(folder, cells, sealed),
        *_notes_on_late(folder, cells, sealed),
    ]


def _notes_on_foreign(folder: SweepFolder, before: SweepRecord | None, cells: list[Cell]) -> list[str]:
    """Return a sentence on each forecast of another sweep, as nothing reads it."""
    return [
        f"{path} is no forecast that this sweep sealed, so nothing reads it; move it to the folder of its "
        "own sweep"
        for path in foreign_forecasts(folder, cells, before)
    ]


def _notes_on_roles(
    before: SweepRecord, cells: Collection[Cell], sealed: Collection[ForecastRecord]
) -> list[str]:
    """Return a sentence on cells that were held out and are fitted now, and one on the contrary."""
    roles = {cell.point_id: cell.role for cell in before.cells}
    notes = []
    for old, new in (("holdout", "fit"), ("fit", "holdout")):
        changed = [
            cell for cell in cells if cell.role == new and roles.get(cell.spec.point_id(cell.n_tokens)) == old
        ]
        if changed:
            kept = f"; {_which(sealed)} stays scored on its cells" if old == "holdout" and sealed else ""
            notes.append(
                f"the role of {len(changed)} of {len(cells)} cells changes from {old} to {new}: "
                f"{_named(changed)}{kept}"
            )
    return notes


def _which(sealed: Collection[ForecastRecord]) -> str:
    days = ", ".join(forecast.created[:10] for forecast in sealed)
    return f"the forecast sealed on {days}" if len(sealed) == 1 else f"each forecast (sealed on {days})"


def _notes_on_new(
    folder: SweepFolder, cells: Iterable[Cell], sealed: Collection[ForecastRecord]
) -> list[str]:
    """Return a sentence on the held-out cells that another forecast is sealed of."""
    ahead = unseen(folder, cells)
    if not sealed or not unforecast(ahead, sealed):
        return []
    path = folder.numbered_forecast(len(sealed) + 1)
    return [
        f"{path.name}, a further forecast, is sealed before these held-out cells are trained: {_named(ahead)}"
    ]


def _notes_on_late(
    folder: SweepFolder, cells: Iterable[Cell], sealed: Collection[ForecastRecord]
) -> list[str]:
    """Return a sentence on the held-out cells that were trained before any forecast of them was sealed."""
    held = [cell for cell in cells if cell.role == "holdout"]
    ahead = {place(cell) for cell in unseen(folder, held)}
    late = [cell for cell in unforecast(held, sealed) if place(cell) not in ahead]
    if not late:
        return []
    return [f"no forecast can be sealed of held-out cells that are trained already: {_named(late)}"]


def _named(cells: Iterable[Cell]) -> str:
    """Return the rungs and token counts of cells, of many cells the first few."""
    names = list(dict.fromkeys(f"{rung} at {si(tokens)} tokens" for rung, tokens in map(place, cells)))
    more = len(names) - MAX_NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:MAX_NAMED])} and {more} more"


def ends_ahead(folder: SweepFolder, cells: Sequence[Cell]) -> Callable[[], Ends]:
    """Return what tells where the running runs of a sweep will end, at most once in LOOK_SECONDS anew.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
    """
    watch = SweepWatch(folder.root, LOOK_SECONDS)
    names = {cell.spec.run_id: f"{cell.spec.rung} seed {cell.spec.seed}" for cell in cells}

    def look() -> Ends:
        found = watch.look()
        alarms = {run: outlook.alarm_text(names.get(run, run)) for run, outlook in found.items()}
        return Ends(
            {run: outlook.ends_at for run, outlook in found.items()},
            {run: text for run, text in alarms.items() if text},
        )

    return look
