"""Fits and frontier of a made-up sweep: plain least squares, independent of the code under test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from analysis.records.fit import (
    EdgeRow,
    EnvelopeRecord,
    EstimationRecord,
    ExponentsRecord,
    FitRecord,
    FitStatus,
    FrontierRecord,
    IsoflopRecord,
    KaplanRecord,
    OptimumRow,
    RoutesRecord,
    RunNoiseRecord,
)
from analysis.records.frontier import FrontierRow
from tests.fakes.law import SEED_SD, TRUTH, joint_loss

COUNTS = ("n_params_matmul", "n_params_body", "n_params")
Z90 = 1.645


def around(value: float, half: float) -> tuple[float, float]:
    return value - half, value + half


def frontier_of(a: float, half: float, g: float) -> FrontierRecord:
    return FrontierRecord(a, around(a, half), 1 - a, around(1 - a, half), g)


BARE = FitRecord(
    law="power_law",
    approach="parametric",
    estimator="huber",
    count=COUNTS[0],
    nobs=22,
    n_clusters=9,
    params={},
    se={},
    interval={},
    level=0.9,
    objective=0.01,
    status=FitStatus.CONVERGED,
    frontier=FrontierRecord(),
    warnings=(),
    excluded=(),
    seconds=0.1,
)


def residuals(theta: Any, n: Any, d: Any, loss: Any, joint: bool) -> Any:
    e, a, b, alpha, beta = theta[:5]
    inner = np.exp(a) * n**-alpha + np.exp(b) * d**-beta
    return np.log(e + (inner ** theta[5] if joint else inner)) - np.log(loss)


def law_fit(points: pd.DataFrame, law: str, count: str) -> FitRecord:
    """Plain least squares on log loss with Gaussian intervals."""
    joint = law == "joint"
    n, d, loss = (points[c].to_numpy(float) for c in (count, "n_tokens", "loss"))
    start = [0.05, 9.6, 11.5, 0.5, 0.5, 0.3] if joint else [1.0, 5.0, 6.0, 0.3, 0.3]
    bounds = ([0] + [-5] * 2 + [0.01] * (len(start) - 3), np.inf)
    found = least_squares(residuals, start, args=(n, d, loss, joint), bounds=bounds)
    spread = np.sqrt(2 * found.cost / max(len(n) - len(start), 1))
    se = spread * np.sqrt(np.diag(np.linalg.pinv(found.jac.T @ found.jac)))
    names = ["E", "A", "B", "alpha", "beta", "gamma"][: len(start)]
    values = found.x.copy()
    values[1:3] = np.exp(values[1:3])
    se[1:3] = np.minimum(se[1:3], 1) * values[1:3]
    se[0] = min(se[0], 0.3)
    a = float(values[4] / (values[3] + values[4]))
    return replace(
        BARE,
        law=law,
        count=count,
        nobs=len(n),
        n_clusters=int(points.trunk_id.nunique()),
        params=dict(zip(names, values.tolist(), strict=True)),
        se=dict(zip(names, se.tolist(), strict=True)),
        interval={k: around(float(v), Z90 * float(s)) for k, v, s in zip(names, values, se, strict=True)},
        objective=float(found.cost),
        frontier=frontier_of(a, 0.03, 2.1),
        frontier_exact=ExponentsRecord(a + 0.1, around(a + 0.1, 0.05), 0.9 - a, None),
        estimation=EstimationRecord(
            resamples=120,
            bootstrap="cluster",
            se_gauss_newton=None,
            delta=1e-3,
            log_likelihood=None,
            routes=RoutesRecord(float(found.cost), float(found.cost)),
            starts_agreeing=1.0,
            condition_number=200.0,
            largest_flops=float(points.flops.max()),
        ),
    )


def isoflop_fit(count: str, a: float) -> FitRecord:
    optima = tuple(
        OptimumRow(row.flops, row.n_opt, row.d_opt, row.loss, 0.1, 4, reason=None)
        for row in frontier_rows()[3:8]
    )
    return replace(
        BARE,
        approach="isoflop",
        estimator="weighted least squares",
        count=count,
        params={"a": a, "G": 2.0},
        se={"a": 0.04},
        interval={"a": around(a, 0.07)},
        frontier=frontier_of(a, 0.07, 2.0),
        isoflop=IsoflopRecord(
            slices="interpolated",
            method="quadratic",
            window=5,
            min_sizes=3,
            bias=None,
            noise=RunNoiseRecord(SEED_SD, 4, "seeds"),
            optima=optima,
        ),
    )


def envelope_fit(count: str, a: float) -> FitRecord:
    edge = tuple(EdgeRow(row.flops, row.n_opt, row.d_opt, row.loss) for row in frontier_rows()[3:8])
    return replace(
        BARE,
        approach="envelope",
        estimator="lower convex hull",
        count=count,
        params={"a": a, "G": 2.0},
        objective=None,
        frontier=FrontierRecord(a, None, 1 - a, None, 2.0),
        envelope=EnvelopeRecord("end points", "hull", edge),
    )


def kaplan_fit(count: str) -> FitRecord:
    """A power law of one axis: no frontier and no interval."""
    params = {"A": 12.0, "alpha": 0.09}
    line = KaplanRecord("tokens", 4e6, 0.076)
    return replace(BARE, law="kaplan_n", approach="kaplan", count=count, nobs=5, params=params, kaplan=line)


def frontier_rows() -> list[FrontierRow]:
    """Closed-form optimum of the made-up law under C = 6ND (α = β, so N* = (A/B)·D*)."""
    rows = []
    for flops in np.geomspace(2e11, 2e14, 13).tolist():
        n = float(np.sqrt(flops / 6) * (TRUTH["A"] / TRUTH["B"]))
        d = flops / 6 / n
        loss = float(joint_loss(n, d))
        bands = np.outer([n, d, loss], [0.85, 1.2]).ravel().tolist()
        rows.append(FrontierRow(flops, n, d, loss, *bands, flat_low=n * 0.7, flat_high=n * 1.5))
    return rows
