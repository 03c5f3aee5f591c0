"""Seal a forecast before the held-out cells are trained, and score it after."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from analysis.approaches.parametric import fit_law
from analysis.arrays import Array
from analysis.averaging.average import LawAverage, average_laws
from analysis.contest.adequacy import CONTEST_RULE, candidates, contest
from analysis.contest.rollout import FORECAST_ESTIMATOR
from analysis.frontier import extrapolation_warning
from analysis.intervals import LEVEL, interval_score
from analysis.records.forecast import (
    ForecastCell,
    ForecastRecord,
    LoserForecast,
    LoserScore,
    ScoredCell,
    ScoreRecord,
)
from analysis.tables.table import LossTable, TableLike, as_table
from harness.records.errors import InputError
from harness.records.json_files import content_sha256, to_json

RESAMPLES = 500
UNCERTAIN = 100  # redrawn estimates behind the intervals if no resamples are asked for
FAR, VERY_FAR = 10.0, 20.0  # compute factors from which errors are stated by themselves


def seal_forecast(
    points: TableLike,
    cells: pd.DataFrame | Sequence[Mapping[str, Any]],
    *,
    mapping: Mapping[str, str] | None = None,
    laws: Sequence[str] | None = None,
    code_revision: str = "",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    created: str | None = None,
) -> ForecastRecord:
    """Weigh laws by CONTEST_RULE on the fit cells; forecast the held-out cells before they are trained.

    Args:
        points: the fit cells only: a LossTable, or a frame or path that `load_table` reads.
        cells: one row a held-out cell with rung, n_tokens, flops, and N as n_params or under the name of the
            table's count.
        mapping: columns of a foreign table, as for `load_table`.
        laws: names of the laws; the candidates of the contest by default.
        code_revision: written into the forecast.
        level: share of the intervals.
        resamples: redrawn estimates of every law; 0 stands for UNCERTAIN, the fewest that intervals need.
        seed: of everything random.
        created: time of the seal, ISO 8601; now by default.

    Returns:
        The content of forecast.json. `cells` has `predicted`, `low` and `high` in nats per token, over all
        laws that the runs cannot exclude; `losers` has the same of each law alone, the chosen one too.
        `sha256` covers everything else in the record.

    Raises:
        InputError: a column is missing, or a cell is both fitted and forecast.

    References: head of analysis/averaging/average.py, for the intervals.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e8, 4), np.geomspace(1e9, 1e10, 4)))
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> large = {"rung": "1b", "n_params": 10**9, "n_tokens": 2 * 10**10, "flops": 1.2e20}
        >>> sealed = sl.seal_forecast(runs, [large], laws=["chinchilla"], resamples=0)
        >>> print(f"{sealed.cells[0].predicted:.2f} nats per token")
        2.58 nats per token
    """
    table = as_table(points, mapping)
    laws = candidates(table) if laws is None else laws
    wanted = _checked_cells(table, pd.DataFrame(cells))
    average = average_laws(table, laws, resamples=resamples or UNCERTAIN, seed=seed)
    entrants = contest(table, laws, seed, average=average)
    chosen = average.best.name
    fit = fit_law(table, chosen, estimator=FORECAST_ESTIMATOR, resamples=resamples, level=level, seed=seed)
    far = extrapolation_warning(float(table.c.max()), float(wanted["flops"].max()))
    return sealed(
        ForecastRecord(
            created=created or datetime.now(UTC).isoformat(timespec="seconds"),
            code_revision=code_revision,
            table_sha256=table_sha256(table),
            rule=CONTEST_RULE,
            law=chosen,
            count=table.count,
            fit=fit.with_warnings(*([far] if far else [])).to_record(),
            level=level,
            cells=_forecast_cells(table, average, wanted, level),
            losers=tuple(
                LoserForecast(entry.name, _forecast_cells(table, average.alone(entry.name), wanted, level))
                for entry in average.laws
            ),
            contest=tuple(entrant.to_row(entrant.law == chosen) for entrant in entrants),
            averaged=True,
        )
    )


def sealed(forecast: ForecastRecord) -> ForecastRecord:
    """Return the forecast with the hash of its content, which shows later edits."""
    return replace(forecast, sha256=content_sha256(to_json(forecast)))


def score_forecast(forecast: ForecastRecord, points: pd.DataFrame) -> ScoreRecord:
    """Hold a sealed forecast against finished points.

    A point belongs to the cell with its n_tokens and its parameters, under the count of the forecast. Several
    seeds of a cell count as their geometric mean.

    Args:
        forecast: the result of `seal_forecast`, or forecast.json as `read_sweep(folder).forecast` reads it.
        points: finished runs: n_tokens, loss, and the column that counted N in the forecast.

    Returns:
        `cells` with `loss`, `error_percent` = 100·(predicted − loss)/loss and `inside`; `rms_percent`;
        `rms_percent_10x` over cells at least ten times beyond the largest fitted compute, None without such
        cells; `inside_share`; the same of the `losers`; `missing` cells; and `seal_intact`.

    Raises:
        InputError: the points lack a column.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e8, 4), np.geomspace(1e9, 1e10, 4)))
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> large = {"rung": "1b", "n_params": 10**9, "n_tokens": 2 * 10**10, "flops": 1.2e20}
        >>> sealed = sl.seal_forecast(runs, [large], laws=["chinchilla"], resamples=0)
        >>> trained = pd.DataFrame({"N": [10**9], "n_tokens": [2 * 10**10], "loss": [2.42]})
        >>> found = sl.score_forecast(sealed, trained)
        >>> print(f"{found.rms_percent_10x:.1f} % off, inside: {found.inside_share:.0%}")
        6.8 % off, inside: 0%
    """
    measured = _measured(points, forecast.count)
    cells = _scored(forecast.cells, measured)
    own = _summary(forecast.law, cells)
    return ScoreRecord(
        cells=cells,
        rms_percent=own.rms_percent,
        rms_percent_10x=own.rms_percent_10x,
        inside_share=own.inside_share,
        largest_fitted_flops=forecast.fit.estimation.largest_flops if forecast.fit.estimation else None,
        losers=tuple(_summary(loser.law, _scored(loser.cells, measured)) for loser in forecast.losers),
        seal_intact=forecast.seal_intact,
        law=forecast.law,
        level=forecast.level,
        missing=tuple(cell for cell in forecast.cells if cell.key not in measured),
        averaged=forecast.averaged,
        rms_percent_20x=_rms([cell for cell in cells if cell.factor >= VERY_FAR]),
        interval_score=float(scores(cells, forecast.level).mean()) if cells else None,
        created=forecast.created,
        sha256=forecast.sha256,
        table_sha256=forecast.table_sha256,
    )


def scores(cells: Sequence[ScoredCell], level: float) -> Array:
    """Return the interval score of each cell [cells], % of its loss."""
    low, high, loss = np.array([(cell.low, cell.high, cell.loss) for cell in cells]).reshape(-1, 3).T
    return 100 * interval_score(low, high, loss, level) / loss


def table_sha256(table: LossTable) -> str:
    """Return the hash of the numbers that a fit sees; the order of the rows does not matter."""
    columns = np.column_stack([table.n, table.d, table.c, table.loss])
    ordered = columns[np.lexsort(columns.T[::-1])]
    return hashlib.sha256(
        table.count.encode() + np.ascontiguousarray(ordered, dtype="<f8").tobytes()
    ).hexdigest()


def _checked_cells(table: LossTable, cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row a cell, with N under the table's count as n_params."""
    if table.count in cells:
        cells = cells.assign(n_params=cells[table.count])
    missing = [name for name in ("rung", "n_params", "n_tokens", "flops") if name not in cells]
    if missing or cells.empty:
        raise InputError(
            f"the cells to forecast lack {', '.join(missing) or 'rows'}: "
            "give rung, n_params, n_tokens and flops"
        )
    fitted = set(zip(table.n.tolist(), table.d.tolist(), strict=True))
    for size, tokens in zip(cells["n_params"], cells["n_tokens"], strict=True):
        if (float(size), float(tokens)) in fitted:
            raise InputError(
                f"the cell N={size:g} D={tokens:g} is both fitted and forecast: leave it out of the fit table"
            )
    return cells.drop_duplicates(["n_params", "n_tokens"])


def _forecast_cells(
    table: LossTable, average: LawAverage, cells: pd.DataFrame, level: float
) -> tuple[ForecastCell, ...]:
    n, d, c = (cells[name].to_numpy(dtype=float) for name in ("n_params", "n_tokens", "flops"))
    predicted, low, high = average.new_runs(n, d, c, level)
    return tuple(
        ForecastCell(
            rung=str(cells["rung"].iloc[row]),
            n_params=int(n[row]),
            n_tokens=int(d[row]),
            flops=float(c[row]),
            factor=float(c[row] / table.c.max()),
            predicted=float(predicted[row]),
            low=float(low[row]),
            high=float(high[row]),
        )
        for row in range(len(cells))
    )


def _measured(points: pd.DataFrame, count: str) -> dict[tuple[int, int], float]:
    """Return {(N, D): geometric mean loss of the finished seeds} in nats per token."""
    missing = [name for name in (count, "n_tokens", "loss") if name not in points]
    if missing:
        raise InputError(
            f"the points lack {', '.join(missing)}; there is: {', '.join(map(str, points.columns))}"
        )
    usable = points[np.isfinite(points["loss"].to_numpy(dtype=float, na_value=np.nan)) & (points["loss"] > 0)]
    if "status" in usable:
        usable = usable[usable["status"] == "done"]
    if "role" in usable:
        usable = usable[~usable["role"].isin(["reference", "lr"])]
    if "excluded_reason" in usable:
        usable = usable[usable["excluded_reason"].isna()]
    logs = np.log(usable["loss"].astype(float)).groupby([usable[count], usable["n_tokens"]]).mean()
    return {(int(size), int(tokens)): float(np.exp(value)) for (size, tokens), value in logs.items()}


def _scored(
    cells: Sequence[ForecastCell], measured: Mapping[tuple[int, int], float]
) -> tuple[ScoredCell, ...]:
    return tuple(_beside(cell, measured[cell.key]) for cell in cells if cell.key in measured)


def _beside(cell: ForecastCell, loss: float) -> ScoredCell:
    error = 100 * (cell.predicted - loss) / loss
    return ScoredCell(**vars(cell), loss=loss, error_percent=error, inside=cell.low <= loss <= cell.high)


def _summary(law: str, cells: Sequence[ScoredCell]) -> LoserScore:
    """Return the RMS error in per cent over all cells and over the far ones, and the share inside."""
    return LoserScore(
        law=law,
        rms_percent=_rms(cells),
        rms_percent_10x=_rms([cell for cell in cells if cell.factor >= FAR]),
        inside_share=float(np.mean([cell.inside for cell in cells])) if cells else None,
    )


def _rms(cells: Sequence[ScoredCell]) -> float | None:
    return float(np.sqrt(np.mean([cell.error_percent**2 for cell in cells]))) if cells else None
