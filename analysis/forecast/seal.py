"""The sealed forecast, written before the hold-out is trained, and its score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from analysis.approaches.parametric import fit_law
from analysis.contest.adequacy import CONTEST_RULE, Entrant, candidates, contest
from analysis.contest.rollout import FORECAST_ESTIMATOR
from analysis.forecast.prediction import calibrate, predict_interval
from analysis.frontier import extrapolation_warning
from analysis.result import LEVEL, Fit, plain
from analysis.tables.table import LossTable, TableLike, as_table
from harness.records.errors import InputError

RESAMPLES = 500
RIVAL = 0.5  # a law this close in rollout error might be the true one: its forecast widens the interval
FAR = 10.0  # compute factor of the headline error


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
) -> dict[str, Any]:
    """Choose a law by CONTEST_RULE on the fit cells and forecast the held-out cells before they are trained.

    Args:
        points: the fit cells only: a LossTable, or a frame or path that `load_table` reads.
        cells: one row a held-out cell with rung, n_tokens, flops, and N as n_params or under the name of the
            table's count.
        mapping: columns of a foreign table, as for `load_table`.
        laws: names of the competing laws; the candidates of the contest by default.
        code_revision: written into the forecast.
        level: share of the intervals.
        resamples: bootstrap refits of every law; 0 for none.
        seed: of everything random.
        created: time of the seal, ISO 8601; now by default.

    Returns:
        The content of forecast.json: the chosen law, its fit, `cells` with `predicted`, `low` and `high` in
        nats per token, and the same of the other laws.
        `sha256` covers everything else in it.

    Raises:
        InputError: a column is missing, or a cell is both fitted and forecast.

    References: head of analysis/forecast/prediction.py, for the intervals.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e8, 4), np.geomspace(1e9, 1e10, 4)))
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> large = {"rung": "1b", "n_params": 10**9, "n_tokens": 2 * 10**10, "flops": 1.2e20}
        >>> sealed = sl.seal_forecast(runs, [large], laws=["chinchilla"], resamples=0)
        >>> print(f"{sealed['cells'][0]['predicted']:.2f} nats per token")
        2.58 nats per token
    """
    table = as_table(points, mapping)
    laws = candidates(table) if laws is None else laws
    wanted = _checked_cells(table, pd.DataFrame(cells))
    entrants = contest(table, laws, seed)
    fits = {
        law: fit_law(table, law, estimator=FORECAST_ESTIMATOR, resamples=resamples, level=level, seed=seed)
        for law in laws
    }
    cells_of = {
        entrant.law: _forecast_cells(table, entrant, fits, _rivals(entrants, entrant), wanted, level)
        for entrant in entrants
    }
    chosen = next(entrant.law for entrant in entrants if entrant.chosen)
    far = extrapolation_warning(float(table.c.max()), float(wanted["flops"].max()))
    content = {
        "schema": 1,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision,
        "table_sha256": table_sha256(table),
        "rule": CONTEST_RULE,
        "law": chosen,
        "count": table.count,
        "fit": fits[chosen].with_warnings(*([far] if far else [])).to_dict(),
        "level": level,
        "cells": cells_of[chosen],
        "losers": [{"law": law, "cells": rows} for law, rows in cells_of.items() if law != chosen],
        "contest": [entrant.to_dict() for entrant in entrants],
    }
    content = plain(content)
    return {**content, "sha256": content_sha256(content)}


def score_forecast(forecast: Mapping[str, Any], points: pd.DataFrame) -> dict[str, Any]:
    """Hold a sealed forecast against finished points.

    A point belongs to the cell with its n_tokens and its parameters, under the count of the forecast. Several
    seeds of a cell count as their geometric mean.

    Args:
        forecast: the result of `seal_forecast`, or the content of forecast.json.
        points: finished runs: n_tokens, loss, and the column that counted N in the forecast.

    Returns:
        `cells` with `loss`, `error_percent` = 100·(predicted − loss)/loss and `inside`; `rms_percent`;
        `rms_percent_10x` over cells at least ten times beyond the largest fitted compute, None without such
        cells; `inside_share`; the same of the `losers`; `missing` cells; and `seal_intact`.

    Raises:
        InputError: the points lack a column.

    Examples:
        >>> import analysis as sl, pandas as pd
        >>> cell = {"rung": "1b", "n_params": 10**9, "n_tokens": 2 * 10**10, "flops": 1.2e20, "factor": 12.0,
        ...         "predicted": 2.60, "low": 2.55, "high": 2.65}
        >>> forecast = {"count": "N", "cells": [cell], "losers": [], "law": "chinchilla", "level": 0.9,
        ...             "fit": {"largest_flops": 1e19}}
        >>> trained = pd.DataFrame({"N": [10**9], "n_tokens": [2 * 10**10], "loss": [2.50]})
        >>> found = sl.score_forecast(forecast, trained)
        >>> print(f"{found['rms_percent_10x']:.1f} % off, inside: {found['inside_share']:.0%}")
        4.0 % off, inside: 0%
    """
    measured = _measured(points, forecast["count"])
    cells = _scored(forecast["cells"], measured)
    missing = [cell for cell in forecast["cells"] if _key(cell) not in measured]
    losers = [
        {"law": loser["law"], **_summary(_scored(loser["cells"], measured))} for loser in forecast["losers"]
    ]
    return plain(
        {
            "cells": cells,
            **_summary(cells),
            "largest_fitted_flops": forecast["fit"].get("largest_flops"),
            "losers": losers,
            "seal_intact": content_sha256(forecast) == forecast.get("sha256"),
            "law": forecast["law"],
            "level": forecast["level"],
            "missing": missing,
        }
    )


def content_sha256(forecast: Mapping[str, Any]) -> str:
    """Hash of a forecast without its own "sha256", as canonical JSON."""
    rest = {key: value for key, value in forecast.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def table_sha256(table: LossTable) -> str:
    """Hash of the numbers that a fit sees, whatever the order of the rows."""
    columns = np.column_stack([table.n, table.d, table.c, table.loss])
    ordered = columns[np.lexsort(columns.T[::-1])]
    return hashlib.sha256(
        table.count.encode() + np.ascontiguousarray(ordered, dtype="<f8").tobytes()
    ).hexdigest()


def _checked_cells(table: LossTable, cells: pd.DataFrame) -> pd.DataFrame:
    """One row a cell, with N under the table's count as n_params."""
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


def _rivals(entrants: Sequence[Entrant], entrant: Entrant) -> list[str]:
    """Laws whose rollout error is within RIVAL of the chosen one's; a loser has none."""
    if not entrant.chosen or entrant.rollout_rms is None:
        return []
    limit = (1 + RIVAL) * entrant.rollout_rms
    return [
        other.law
        for other in entrants
        if other is not entrant and other.rollout_rms is not None and other.rollout_rms <= limit
    ]


def _forecast_cells(
    table: LossTable,
    entrant: Entrant,
    fits: Mapping[str, Fit],
    rivals: Sequence[str],
    cells: pd.DataFrame,
    level: float,
) -> list[dict[str, Any]]:
    fit = fits[entrant.law]
    n, d, c = (cells[name].to_numpy(dtype=float) for name in ("n_params", "n_tokens", "flops"))
    spread = calibrate(table, fit, entrant.rolled)
    found = predict_interval(fit, spread, n, d, c, level, [fits[law] for law in rivals])
    return [
        {
            "rung": str(cells["rung"].iloc[row]),
            "n_params": int(n[row]),
            "n_tokens": int(d[row]),
            "flops": float(c[row]),
            "factor": float(c[row] / table.c.max()),
            "predicted": float(found.predicted[row]),
            "low": float(found.low[row]),
            "high": float(found.high[row]),
        }
        for row in range(len(cells))
    ]


def _key(cell: Mapping[str, Any]) -> tuple[int, int]:
    return int(cell["n_params"]), int(cell["n_tokens"])


def _measured(points: pd.DataFrame, count: str) -> dict[tuple[int, int], float]:
    """Geometric mean loss of the finished seeds of every cell."""
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
    cells: Sequence[Mapping[str, Any]], measured: Mapping[tuple[int, int], float]
) -> list[dict[str, Any]]:
    rows = []
    for cell in cells:
        loss = measured.get(_key(cell))
        if loss is None:
            continue
        error = 100 * (cell["predicted"] - loss) / loss
        inside = cell["low"] <= loss <= cell["high"]
        rows.append({**cell, "loss": loss, "error_percent": error, "inside": inside})
    return rows


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """RMS error in per cent over all cells and over the far ones, and the share inside the intervals."""

    def rms(chosen: Sequence[Mapping[str, Any]]) -> float | None:
        return float(np.sqrt(np.mean([row["error_percent"] ** 2 for row in chosen]))) if chosen else None

    return {
        "rms_percent": rms(rows),
        "rms_percent_10x": rms([row for row in rows if row["factor"] >= FAR]),
        "inside_share": float(np.mean([row["inside"] for row in rows])) if rows else None,
    }
