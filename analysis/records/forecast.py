"""Record of forecast.json: the sealed forecast of the held-out cells, with a hash of itself.

Schema 2 is written. Schema 1 differs in the names of two keys of Kaplan fits, which no forecast rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.records.fit import FitRecord, with_constant
from analysis.records.fits import ContestRow, ForecastCell
from harness.records.errors import Damaged, InputError
from harness.records.json_files import NOT_STORED, content_sha256, current, from_json, read_json, to_json
from harness.records.paths import SweepFolder, forecast_number
from harness.records.sweep_file import SweepRecord

SCHEMA = 2
WAY_OUT = "put it back from a copy, or delete it to go on without this forecast"
Ahead = tuple[str, int, float]  # rung, token count and FLOPs of a held-out cell


@dataclass(frozen=True)
class LoserForecast:
    """The forecast of a single law, for comparison.

    Attributes:
        law: its name.
        cells: its forecast of the held-out cells.
    """

    law: str
    cells: tuple[ForecastCell, ...]


@dataclass(frozen=True, kw_only=True)
class ForecastRecord:
    """Content of forecast.json, written before the held-out cells are trained.

    Attributes:
        schema: version of the keys.
        created: time of writing, UTC, ISO 8601.
        code_revision: commit of the code.
        table_sha256: hash of the fitted rows.
        rule: the rule that chose the law.
        law: the chosen law; of an average the one of largest weight.
        count: column that holds N.
        fit: the fit behind the forecast.
        level: nominal share of losses inside the intervals.
        cells: the forecast, one row a held-out cell.
        losers: forecasts of single laws; of an average those of all its laws, else of those not chosen.
        contest: the laws that competed on the fitted cells.
        averaged: whether `cells` are the forecast over all laws that the runs cannot exclude.
        sha256: the seal, a hash of everything else in the file.
        seal_intact: whether the file that was read has the content that `sha256` was taken of (no key).
    """

    schema: int = SCHEMA
    created: str
    code_revision: str
    table_sha256: str
    rule: str
    law: str
    count: str
    fit: FitRecord
    level: float
    cells: tuple[ForecastCell, ...]
    losers: tuple[LoserForecast, ...]
    contest: tuple[ContestRow, ...]
    averaged: bool = False
    sha256: str = ""
    seal_intact: bool = field(default=True, metadata=NOT_STORED)


def sealed(forecast: ForecastRecord) -> ForecastRecord:
    """Return the forecast with the hash of its content."""
    return replace(forecast, sha256=content_sha256(to_json(forecast)))


def forecast_from(content: Any, source: str) -> ForecastRecord:
    """Return the forecast that the content of a file holds; raise InputError if it holds none."""
    found = from_json(current(content, source, SCHEMA, {1: _from_schema_1}), ForecastRecord, source)
    # The seal covers the file as written, so it is checked before any key gets a new name.
    return replace(found, seal_intact=content_sha256(content) == found.sha256)


def read_forecast(path: Path) -> ForecastRecord:
    """Read forecast.json of a sweep and check its seal; raise InputError if it cannot be read."""
    return forecast_from(read_json(path), str(path))


def read_own_forecasts(folder: SweepFolder, record: SweepRecord | None) -> dict[Path, ForecastRecord]:
    """Read the forecasts that a sweep sealed, in the order of sealing; files of other sweeps are left out.

    Args:
        folder: folder of the sweep.
        record: its sweep.json; None if there is none, and then every forecast of the folder counts.

    Raises:
        Damaged: a forecast that the sweep sealed cannot be read.
        InputError: another forecast is in its place.
    """
    if record is None:
        return {path: read_forecast(path) for path in folder.forecasts}
    ahead = held_out(record)
    listed = {folder.numbered_forecast(number) for number in listed_numbers(record.seals)}
    found: dict[Path, ForecastRecord] = {}
    for path in folder.forecasts:
        try:
            found[path] = read_forecast(path)
        except Damaged as error:
            if path in listed or (ahead and not listed):
                raise Damaged(path, error.reason, WAY_OUT) from error
        except InputError:
            if path in listed or (ahead and not listed):
                raise
    own = own_forecasts(found, record.seals, ahead)
    foreign = next((path for path in found if path in listed and path not in own), None)
    if foreign:
        raise InputError(f"{foreign} is not the forecast that this sweep sealed; {WAY_OUT}")
    return own


def held_out(record: SweepRecord) -> set[Ahead]:
    """Return the held-out cells of a sweep's record."""
    return {(cell.rung, cell.n_tokens, cell.flops) for cell in record.cells if cell.role == "holdout"}


def own_forecasts(
    found: dict[Path, ForecastRecord], seals: Sequence[str | None], ahead: Iterable[Ahead]
) -> dict[Path, ForecastRecord]:
    """Return the forecasts of a folder that its sweep sealed.

    sweep.json lists their seals. Earlier versions listed none, and a driver may end between the two files: so
    a forecast counts too if it is of a held-out cell that no listed one is of.

    Args:
        found: the forecasts by file.
        seals: seals that sweep.json lists.
        ahead: the held-out cells.
    """
    listed = listed_numbers(seals)
    told = [forecast for forecast in found.values() if forecast.sha256 in seals]
    left = set(ahead) - {cell for forecast in told for cell in _cells(forecast)}
    return {
        path: forecast
        for path, forecast in found.items()
        if forecast.sha256 in seals or (forecast_number(path) not in listed and left & _cells(forecast))
    }


def listed_numbers(seals: Sequence[str | None]) -> set[int]:
    """Return the numbers of the forecasts whose seals sweep.json lists."""
    return {number for number, seal in enumerate(seals, 1) if seal}


def _cells(forecast: ForecastRecord) -> set[Ahead]:
    return {(cell.rung, cell.n_tokens, cell.flops) for cell in forecast.cells}


def _from_schema_1(forecast: dict[str, Any]) -> dict[str, Any]:
    return {**forecast, "fit": with_constant(forecast.get("fit", {}))}
