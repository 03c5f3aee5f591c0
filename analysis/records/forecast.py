"""Record of forecast.json: the sealed forecast of the held-out cells, with a hash of itself.

Schema 2 is written. Schema 1 differs in the names of two keys of Kaplan fits, which no forecast rests on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.records.fit import FitRecord, with_constant
from analysis.records.fits import ContestRow, ForecastCell
from harness.records.json_files import NOT_STORED, content_sha256, current, from_json, read_json, to_json

SCHEMA = 2


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


def _from_schema_1(forecast: dict[str, Any]) -> dict[str, Any]:
    return {**forecast, "fit": with_constant(forecast.get("fit", {}))}
