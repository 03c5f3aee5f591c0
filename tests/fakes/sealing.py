"""Forecasts and studies that fit nothing, for sweeps that are trained in this process."""

from __future__ import annotations

from itertools import count

import pandas as pd
import pytest

from analysis.forecast.seal import sealed, table_sha256
from analysis.forecast.series import quoted, score_all
from analysis.records.fits import NoiseRecord, StudyRecord
from analysis.records.forecast import ForecastCell, ForecastRecord
from analysis.tables.table import load_table
from tests.fakes import launcher
from tests.fakes.fits import kaplan_fit

NUMBERS = count(1)


def seal(fitted: pd.DataFrame, cells: pd.DataFrame, **_: object) -> ForecastRecord:
    """A forecast of 3 nats; each is written a second after the one before."""
    rows = tuple(
        ForecastCell(row.rung, int(row.n_params_matmul), int(row.n_tokens), row.flops, 2.0, 3.0, 2.9, 3.1)
        for row in cells.drop_duplicates(["rung", "n_tokens"]).itertuples()
    )
    return sealed(
        ForecastRecord(
            created=f"2024-05-01T12:00:{next(NUMBERS):02d}+00:00", code_revision="0123abc",
            table_sha256=table_sha256(load_table(fitted)), rule="", law="joint", count="n_params_matmul",
            fit=kaplan_fit("n_params_matmul"), level=0.9, cells=rows, losers=(), contest=(),
        )
    )  # fmt: skip


def study(
    points: pd.DataFrame, _: pd.DataFrame, forecasts: list[ForecastRecord], **__: object
) -> StudyRecord:
    scored = score_all(forecasts, points)
    own = quoted(scored)
    return StudyRecord(
        reason="", adequacy={}, noise=NoiseRecord(), warnings=(), excluded=(), verdict="",
        forecast=own[1] if own else None, forecasts=tuple(score for _, score in scored),
    )  # fmt: skip


def without_fits(patch: pytest.MonkeyPatch) -> None:
    """Let a sweep train in this process, and stand in for its forecasts, fits and report."""
    launcher.train_here(patch)
    patch.setattr("analysis.study.study.study_sweep", study)
    patch.setattr("analysis.report.build.write_report", lambda root: root)
    patch.setattr("analysis.forecast.seal.seal_forecast", seal)
    patch.setattr("harness.sweep.preparation.check_fit_cells", lambda cells: None)  # noqa: ARG005
