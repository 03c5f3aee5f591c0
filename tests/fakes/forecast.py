"""Forecasts and rollouts of a made-up sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.forecast.seal import sealed
from analysis.records.fit import FitRecord
from analysis.records.fits import RolloutRow
from analysis.records.forecast import ForecastCell, ForecastRecord, LoserForecast
from tests.fakes.fits import law_fit


def predict(fit: FitRecord, n: Any, d: Any) -> Any:
    p = fit.params
    inner = p["A"] * n ** -p["alpha"] + p["B"] * d ** -p["beta"]
    return p["E"] + inner ** p.get("gamma", 1.0)


def forecast_cells(fit: FitRecord, cells: pd.DataFrame, largest: float) -> tuple[ForecastCell, ...]:
    value = predict(fit, cells.n_params_matmul, cells.n_tokens)
    return tuple(
        ForecastCell(
            rung=row.rung,
            n_params=int(row.n_params_matmul),
            n_tokens=int(row.n_tokens),
            flops=row.flops,
            factor=row.flops / largest,
            predicted=p,
            low=p * 0.985,
            high=p * 1.015,
        )
        for row, p in zip(cells.itertuples(), value, strict=True)
    )


def make_forecast(fits: Mapping[str, FitRecord], points: pd.DataFrame) -> ForecastRecord:
    largest = float(points[points.role == "fit"].flops.max()) / 3
    holdout = points[points.role == "holdout"]
    cells = {law: forecast_cells(fit, holdout, largest) for law, fit in fits.items()}
    return sealed(
        ForecastRecord(
            created="2024-05-01T12:00:00Z",
            code_revision="0123abc",
            table_sha256="ab" * 32,
            rule="the law with the smaller rollout error, ties to fewer parameters",
            law="joint",
            count="n_params_matmul",
            fit=fits["joint"],
            level=0.9,
            cells=cells["joint"],
            losers=tuple(LoserForecast(law, rows) for law, rows in cells.items()),
            contest=(),
            averaged=True,
        )
    )


def rollout_rows(points: pd.DataFrame) -> tuple[RolloutRow, ...]:
    rows = []
    ordered = points.sort_values("flops")
    for law in ("joint", "chinchilla"):
        for n_fit in (9, 13, 17, 21):
            fit = law_fit(ordered[:n_fit], law, "n_params_matmul")
            c_fit = float(ordered.flops.iloc[n_fit - 1])
            for cell in ordered[n_fit:].itertuples():
                value = float(predict(fit, cell.n_params_matmul, cell.n_tokens))
                rows.append(
                    RolloutRow(
                        law=law,
                        c_fit=c_fit,
                        n_fit=n_fit,
                        factor=cell.flops / c_fit,
                        n_tokens=cell.n_tokens,
                        rung=cell.rung,
                        n_params=cell.n_params_matmul,
                        loss=cell.loss,
                        predicted=value,
                        low=value * 0.98,
                        high=value * 1.02,
                        error=float(np.log(cell.loss / value)),
                    )
                )
    return tuple(rows)
