"""Forecasts and rollouts of a made-up sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tests.fakes.fits import fit_dict

Json = dict[str, Any]


def predict(fit: Json, n: Any, d: Any) -> Any:
    p = fit["params"]
    inner = p["A"] * n ** -p["alpha"] + p["B"] * d ** -p["beta"]
    return p["E"] + inner ** p.get("gamma", 1.0)


def forecast_cells(fit: Json, cells: pd.DataFrame, largest: float) -> list[Json]:
    value = predict(fit, cells.n_params_matmul, cells.n_tokens)
    return [
        {
            "rung": row.rung,
            "n_params": int(row.n_params_matmul),
            "n_tokens": int(row.n_tokens),
            "flops": row.flops,
            "factor": row.flops / largest,
            "predicted": p,
            "low": p * 0.985,
            "high": p * 1.015,
        }
        for row, p in zip(cells.itertuples(), value, strict=True)
    ]


def score_cells(cells: list[Json], truth: pd.DataFrame) -> Json:
    scored = [
        cell
        | {
            "loss": loss,
            "error_percent": 100 * (cell["predicted"] / loss - 1),
            "inside": cell["low"] <= loss <= cell["high"],
        }
        for cell, loss in zip(cells, truth.loss.tolist(), strict=True)
    ]
    errors = np.array([cell["error_percent"] for cell in scored])
    rms = float(np.sqrt(np.mean(errors**2)))
    share = float(np.mean([cell["inside"] for cell in scored]))
    return {"cells": scored, "rms_percent": rms, "rms_percent_10x": None, "inside_share": share}


def make_forecast(fits: dict[str, Json], points: pd.DataFrame) -> tuple[Json, Json]:
    """The sealed forecast and its score."""
    largest = float(points[points.role == "fit"].flops.max()) / 3
    holdout = points[points.role == "holdout"]
    cells = {law: forecast_cells(fit, holdout, largest) for law, fit in fits.items()}
    sealed = {
        "schema": 1,
        "created": "2024-05-01T12:00:00Z",
        "code_revision": "0123abc",
        "table_sha256": "ab" * 32,
        "rule": "the law with the smaller rollout error, ties to fewer parameters",
        "law": "joint",
        "count": "n_params_matmul",
        "fit": fits["joint"],
        "level": 0.9,
        "cells": cells["joint"],
        "losers": [{"law": "chinchilla", "cells": cells["chinchilla"]}],
        "contest": [],
        "sha256": "cd" * 32,
    }
    score = score_cells(cells["joint"], holdout)
    loser = score_cells(cells["chinchilla"], holdout)
    losers = [
        {"law": "chinchilla"} | {k: loser[k] for k in ("rms_percent", "rms_percent_10x", "inside_share")}
    ]
    return sealed, score | {
        "largest_fitted_flops": largest,
        "losers": losers,
        "seal_intact": True,
        "missing": [],
    }


def rollout_rows(points: pd.DataFrame) -> list[Json]:
    rows = []
    ordered = points.sort_values("flops")
    for law in ("joint", "chinchilla"):
        for n_fit in (9, 13, 17, 21):
            fit = fit_dict(ordered[:n_fit], law, "n_params_matmul")
            c_fit = float(ordered.flops.iloc[n_fit - 1])
            for cell in ordered[n_fit:].itertuples():
                value = float(predict(fit, cell.n_params_matmul, cell.n_tokens))
                rows.append(
                    {
                        "law": law,
                        "c_fit": c_fit,
                        "n_fit": n_fit,
                        "factor": cell.flops / c_fit,
                        "n_tokens": cell.n_tokens,
                        "rung": cell.rung,
                        "n_params": cell.n_params_matmul,
                        "loss": cell.loss,
                        "predicted": value,
                        "low": value * 0.98,
                        "high": value * 1.02,
                        "error": float(np.log(cell.loss / value)),
                    }
                )
    return rows
