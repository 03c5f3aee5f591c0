"""Fits and forecast of a made-up sweep: plain least squares, independent of the code under test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from tests.fakes.law import SEED_SD, TRUTH, joint_loss

COUNTS = ("n_params_matmul", "n_params_body", "n_params")
Z90 = 1.645
Json = dict[str, Any]


def residuals(theta: Any, n: Any, d: Any, loss: Any, joint: bool) -> Any:
    e, a, b, alpha, beta = theta[:5]
    inner = np.exp(a) * n**-alpha + np.exp(b) * d**-beta
    return np.log(e + (inner ** theta[5] if joint else inner)) - np.log(loss)


def fit_dict(points: pd.DataFrame, law: str, count: str) -> Json:
    """Plain least squares on log loss with Gaussian intervals."""
    joint = law == "joint"
    n, d, loss = (points[c].to_numpy(float) for c in (count, "n_tokens", "loss"))
    start = [0.05, 9.6, 11.5, 0.5, 0.5] + ([0.3] if joint else [])
    if not joint:
        start = [1.0, 5.0, 6.0, 0.3, 0.3]
    found = least_squares(
        residuals,
        start,
        args=(n, d, loss, joint),
        bounds=([0] + [-5] * 2 + [0.01] * (len(start) - 3), np.inf),
    )
    spread = np.sqrt(2 * found.cost / max(len(n) - len(start), 1))
    se = spread * np.sqrt(np.diag(np.linalg.pinv(found.jac.T @ found.jac)))
    names = ["E", "A", "B", "alpha", "beta"] + (["gamma"] if joint else [])
    values = found.x.copy()
    values[1:3] = np.exp(values[1:3])
    se[1:3] = np.minimum(se[1:3], 1) * values[1:3]
    se[0] = min(se[0], 0.3)
    a = values[4] / (values[3] + values[4])
    return {
        "law": law,
        "approach": "parametric",
        "estimator": "huber",
        "count": count,
        "nobs": len(n),
        "n_clusters": int(points.trunk_id.nunique()),
        "params": dict(zip(names, values.tolist(), strict=True)),
        "se": dict(zip(names, se.tolist(), strict=True)),
        "interval": {k: [v - Z90 * s, v + Z90 * s] for k, v, s in zip(names, values, se, strict=True)},
        "level": 0.9,
        "objective": float(found.cost),
        "status": "converged",
        "frontier": {
            "a": a,
            "a_interval": [a - 0.03, a + 0.03],
            "b": 1 - a,
            "b_interval": [0.97 - a, 1.03 - a],
            "G": 2.1,
        },
        "warnings": [],
        "excluded": [],
        "seconds": 0.1,
        "frontier_exact": {
            "a": a + 0.1,
            "a_interval": [a + 0.05, a + 0.15],
            "b": 0.9 - a,
            "b_interval": None,
        },
    }


def power_fit(approach: str, count: str, a: float) -> Json:
    """A fit of the kind that gives only a frontier exponent (IsoFLOP, envelope)."""
    optima = [
        {"flops": row["flops"], "n_opt": row["n_opt"], "loss": row["loss"], "reason": None}
        for row in frontier_rows()[3:8]
    ]
    return {
        "law": "power_law",
        "approach": approach,
        "estimator": "weighted least squares",
        "count": count,
        "nobs": 22,
        "n_clusters": 9,
        "params": {"a": a, "G": 2.0},
        "se": {"a": 0.04},
        "interval": {"a": [a - 0.07, a + 0.07]},
        "level": 0.9,
        "objective": 0.01,
        "status": "converged",
        "frontier": {
            "a": a,
            "a_interval": [a - 0.07, a + 0.07],
            "b": 1 - a,
            "b_interval": [0.93 - a, 1.07 - a],
            "G": 2.0,
        },
        "warnings": [],
        "excluded": [],
        "seconds": 0.1,
        "slices": "interpolated",
        "min_sizes": 3,
        "optima": optima,
    }


def kaplan_fit(count: str) -> Json:
    """A power law of one axis: no frontier and no interval."""
    return {
        "law": "kaplan_n",
        "approach": "kaplan",
        "estimator": "huber",
        "count": count,
        "nobs": 5,
        "n_clusters": 5,
        "params": {"A": 12.0, "alpha": 0.09},
        "se": {},
        "interval": {},
        "level": 0.9,
        "objective": 0.01,
        "status": "converged",
        "frontier": {"a": None, "a_interval": None, "b": None, "b_interval": None, "G": None},
        "warnings": [],
        "excluded": [],
        "seconds": 0.1,
        "constant": "tokens",
        "constant_value": 4e6,
        "published_exponent": 0.076,
    }


def frontier_rows() -> list[Json]:
    """Closed-form optimum of the made-up law under C = 6ND (α = β, so N* = (A/B)·D*)."""
    rows = []
    for flops in np.geomspace(2e11, 2e14, 13):
        n = np.sqrt(flops / 6) * (TRUTH["A"] / TRUTH["B"])
        d = flops / 6 / n
        loss = float(joint_loss(n, d))
        rows.append(
            {
                "flops": float(flops),
                "n_opt": n,
                "n_low": n * 0.85,
                "n_high": n * 1.2,
                "d_opt": d,
                "d_low": d * 0.83,
                "d_high": d * 1.18,
                "loss": loss,
                "loss_low": loss * 0.99,
                "loss_high": loss * 1.01,
                "flat_low": n * 0.7,
                "flat_high": n * 1.5,
            }
        )
    return rows


def noise_and_reference(points: pd.DataFrame) -> tuple[Json, list[Json]]:
    cells = []
    done = points[points.status == "done"]
    for (rung, n_tokens), group in done[done.role == "fit"].groupby(["rung", "n_tokens"]):
        if len(group) > 1:
            sd = float(group.loss.std())
            relative = sd / float(group.loss.mean())
            cells.append(
                {"rung": rung, "n_tokens": n_tokens, "n_seeds": len(group), "sd": sd, "sd_relative": relative}
            )
    reference = []
    for row in points[points.role == "reference"].itertuples():
        same = done[(done.rung == row.rung) & (done.n_tokens == row.n_tokens) & (done.role == "fit")]
        reference.append(
            {
                "rung": row.rung,
                "n_tokens": row.n_tokens,
                "wsd_loss": float(same.loss.mean()),
                "cosine_loss": row.loss,
                "difference": float(same.loss.mean() - row.loss),
                "se": 0.012,
                "lr_scale": 0.7,
                "n_seeds": 1,
            }
        )
    return {"cells": cells, "pooled_relative": SEED_SD}, reference
