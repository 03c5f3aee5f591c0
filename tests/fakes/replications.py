"""Made-up replications of one experiment: points, sealed forecasts and quoted fits with known errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.forecast.seal import sealed, table_sha256
from analysis.records.fit import ExponentsRecord
from analysis.records.fits import NoiseRecord, StudyRecord
from analysis.records.forecast import ForecastCell, ForecastRecord
from analysis.tables.table import load_table
from harness.records.files import write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from tests.fakes.fits import BARE, around, frontier_of, kaplan_fit
from tests.fakes.law import TRUTH, joint_loss
from tests.fakes.record import sweep_record, write_forecast
from tests.fakes.sweep import make_points

COUNT = "n_params_matmul"
Z90 = 1.6449
SEED_SD = 0.003  # of log loss, of one run
FORECAST_SD = 0.004  # of log loss, of a forecast
PARAMETER_SD = {"alpha": 0.02, "beta": 0.03, "E": 0.05}


def own_points(number: int, rng: np.random.Generator) -> pd.DataFrame:
    """Points of one replication: its seeds and runs are its own."""
    points = make_points(rng)
    for column in ("run_id", "trunk_id", "point_id"):
        points[column] = points[column] + f"-r{number}"
    return points.assign(seed=points.seed + 1000 * number)


def forecast_of(points: pd.DataFrame, rng: np.random.Generator, widen: float, law: str) -> ForecastRecord:
    """A forecast that errs by FORECAST_SD; `widen` times the intervals that hold 90 % of new runs."""
    fitted = points[points.role == "fit"]
    largest = float(points.flops.max()) / 30
    half = widen * Z90 * float(np.hypot(SEED_SD, FORECAST_SD))
    cells = []
    for row in points[points.role == "holdout"].itertuples():
        centre = float(np.log(joint_loss(row.n_params_matmul, row.n_tokens)) + FORECAST_SD * rng.normal())
        cells.append(
            ForecastCell(
                rung=row.rung,
                n_params=int(row.n_params_matmul),
                n_tokens=int(row.n_tokens),
                flops=row.flops,
                factor=row.flops / largest,
                predicted=float(np.exp(centre)),
                low=float(np.exp(centre - half)),
                high=float(np.exp(centre + half)),
            )
        )
    return sealed(
        ForecastRecord(
            created="2024-05-01T12:00:00Z", code_revision="0123abc",
            table_sha256=table_sha256(load_table(fitted, count=COUNT)), rule="", law=law, count=COUNT,
            fit=kaplan_fit(COUNT), level=0.9, cells=tuple(cells), losers=(), contest=(),
        )
    )  # fmt: skip


def study_of(rng: np.random.Generator, law: str) -> StudyRecord:
    """A study that quotes a fit whose parameters err by PARAMETER_SD, with fair intervals."""
    errors = {name: sd * float(rng.normal()) for name, sd in PARAMETER_SD.items()}
    params = {name: TRUTH.get(name, 1.0) + error for name, error in errors.items()}
    interval = {name: around(value, Z90 * PARAMETER_SD[name]) for name, value in params.items()}
    a = 0.5 + 0.01 * float(rng.normal())
    fit = replace(
        BARE, law=law, params=params, interval=interval, frontier=frontier_of(a, Z90 * 0.01, 2.1),
        frontier_exact=ExponentsRecord(a + 0.03, around(a + 0.03, Z90 * 0.01), 0.47 - a, None),
    )  # fmt: skip
    return StudyRecord(
        reason="", adequacy={}, noise=NoiseRecord(), warnings=(), excluded=(), verdict="", fits=(fit,),
        recommended=0,
    )  # fmt: skip


def write_replications(
    root: Path, n: int, *, widen: float = 1.0, seed: int = 0, laws: tuple[str, ...] = ("joint",)
) -> Path:
    """Write n replications r01, r02 … under `root` and return it; they use the laws in turn."""
    for number in range(1, n + 1):
        rng = np.random.default_rng((seed, number))
        folder, law = SweepFolder(root / f"r{number:02d}"), laws[number % len(laws)]
        points = own_points(number, rng)
        write_table(folder.points, points)
        forecast = forecast_of(points, rng, widen, law)
        write_record(folder.fits, study_of(rng, law))
        write_record(folder.sweep, sweep_record(recipe={"model.n_layers": 3}, seconds_total=60.0 + number))
        write_forecast(folder, forecast)
    return root
