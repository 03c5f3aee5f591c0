"""Record of forecast.json: the sealed forecast of the held-out cells, with a hash of itself; and its score.

Schema 2 is written. Schema 1 differs in the names of two keys of Kaplan fits, which no forecast rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.records.averages import ContestRow
from analysis.records.fit import FitRecord, with_constant
from harness.records.errors import Damaged, InputError
from harness.records.json_files import (
    ABSENT_IF_NONE,
    NOT_STORED,
    content_sha256,
    current,
    from_json,
    read_json,
)
from harness.records.paths import SweepFolder, forecast_number
from harness.records.sweep_file import SweepRecord

SCHEMA = 2
WAY_OUT = "put it back from a copy, or delete it to go on without this forecast"
Ahead = tuple[str, int, float]  # rung, token count and FLOPs of a held-out cell


@dataclass(frozen=True)
class ForecastCell:
    """The forecast of one held-out cell.

    Attributes:
        rung: size by name.
        n_params: N under the count of the forecast, parameters.
        n_tokens: D, tokens.
        flops: C, FLOPs.
        factor: C over the largest fitted C.
        predicted: predicted loss, nats per token.
        low: lower end of the interval that one new run falls into.
        high: upper end.
    """

    rung: str
    n_params: int
    n_tokens: int
    flops: float
    factor: float
    predicted: float
    low: float
    high: float

    @property
    def key(self) -> tuple[int, int]:
        """N and D, which name the cell."""
        return self.n_params, self.n_tokens


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


@dataclass(frozen=True)
class ScoredCell(ForecastCell):
    """A forecast beside the truth.

    Attributes:
        loss: measured loss, nats per token; geometric mean over seeds.
        error_percent: 100·(predicted − loss)/loss.
        inside: whether the loss is inside the interval.
    """

    loss: float
    error_percent: float
    inside: bool


@dataclass(frozen=True)
class LoserScore:
    """Errors of the forecast of a single law.

    Attributes:
        law: its name.
        rms_percent: RMS error over the held-out cells, %; None if none is finished.
        rms_percent_10x: the same over cells at ≥ 10 times the largest fitted C; None if there is none.
        inside_share: share of the losses inside their intervals.
    """

    law: str
    rms_percent: float | None
    rms_percent_10x: float | None
    inside_share: float | None


@dataclass(frozen=True)
class ScoreRecord:
    """The sealed forecast against the truth.

    Attributes:
        cells: the finished held-out cells.
        rms_percent: RMS error over them, %; None if none is finished.
        rms_percent_10x: the same over cells at ≥ 10 times the largest fitted C; None if there is none.
        inside_share: share of the losses inside their intervals.
        largest_fitted_flops: largest C of the fit behind the forecast, FLOPs.
        losers: errors of single laws; of an average those of all its laws, else of those not chosen.
        seal_intact: whether the hash in forecast.json is that of its content.
        law: the law that forecast; of an average the one of largest weight.
        level: nominal share of losses inside the intervals.
        missing: held-out cells that are not finished.
        averaged: whether the forecast is one over laws.
        rms_percent_20x: as rms_percent_10x, at ≥ 20 times.
        interval_score: mean score of the intervals, % of the loss; the smaller, the sharper and the truer.
        created: time of the seal, UTC, ISO 8601; None in old files.
        sha256: the seal of the forecast; None in old files.
        table_sha256: hash of the fitted rows; None in old files.
    """

    cells: tuple[ScoredCell, ...]
    rms_percent: float | None
    rms_percent_10x: float | None
    inside_share: float | None
    largest_fitted_flops: float | None
    losers: tuple[LoserScore, ...]
    seal_intact: bool
    law: str
    level: float
    missing: tuple[ForecastCell, ...]
    averaged: bool = False
    rms_percent_20x: float | None = None
    interval_score: float | None = None
    created: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    sha256: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    table_sha256: str | None = field(default=None, metadata=ABSENT_IF_NONE)


def forecast_from(content: Any, source: str) -> ForecastRecord:
    """Return the forecast that the content of a file holds; raise InputError if it holds none."""
    found = from_json(current(content, source, SCHEMA, {1: _from_schema_1}), ForecastRecord, source)
    # The seal covers the file as written, so it is checked before any key gets a new name.
    try:
        return replace(found, seal_intact=content_sha256(content) == found.sha256)
    except ValueError as error:
        raise InputError(f"{source} holds numbers that no forecast has ({error}); {WAY_OUT}") from error


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
