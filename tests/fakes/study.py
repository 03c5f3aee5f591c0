"""fits.json of a made-up sweep."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from analysis.forecast.seal import score_forecast
from analysis.learning_rate.schedules import compare_schedules
from analysis.records.averages import AveragedQuantity, AveragedRecord, ContestRow, LawShare
from analysis.records.fit import Excluded
from analysis.records.fits import (
    AdequacyRecord,
    JackknifeRecord,
    JackknifeRow,
    PrimaryRecord,
    StudyRecord,
    TrendRecord,
)
from analysis.records.forecast import ForecastRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.tables.seed_noise import noise_report
from tests.fakes.fits import (
    COUNTS,
    envelope_fit,
    frontier_rows,
    isoflop_fit,
    kaplan_fit,
    law_fit,
)
from tests.fakes.forecast import make_forecast, rollout_rows
from tests.fakes.law import SEED_SD, WIDTHS
from tests.fakes.uncertainty import fake_cloud, fake_frontier_by_count, fake_profile


def adequacy_of(rms: float, p: float, trend_p: float, gamma_p: float | None, words: str) -> AdequacyRecord:
    trends = tuple(TrendRecord(axis, trend_p, 0.5) for axis in ("N", "D", "D/N", "N×D"))
    return AdequacyRecord(rms, 2.4 * rms, SEED_SD, p, trends, gamma_p, words)


def fake_averages() -> tuple[AveragedRecord, ...]:
    """E of two laws that disagree, and exponents on which they agree."""
    found = []
    for quantity, values, agree in (
        (AveragedQuantity.E, (0.6, 1.7), False),
        (AveragedQuantity.A_SIX_ND, (0.5, 0.51), True),
        (AveragedQuantity.A_EXACT, (0.52, 0.53), True),
    ):
        laws = tuple(
            LawShare(law, weight, value, value - 0.05, value + 0.05)
            for law, weight, value in zip(("joint", "chinchilla"), (0.9, 0.1), values, strict=True)
        )
        found.append(
            AveragedRecord(quantity, values[0], values[0] - 0.05, values[1] + 0.05, 0.9, agree, laws)
        )
    return tuple(found)


def make_fits(points: pd.DataFrame) -> tuple[StudyRecord, ForecastRecord]:
    """The contents of fits.json and forecast.json; joint wins the contest."""
    usable = points[(points.role == "fit") & (points.status == "done")]
    parametric = {(law, n): law_fit(usable, law, n) for law in ("joint", "chinchilla") for n in COUNTS}
    laws = {law: parametric[law, COUNTS[0]] for law in ("joint", "chinchilla")}
    forecast = make_forecast(laws, points)
    best = laws["joint"]
    parametric["joint", COUNTS[0]] = replace(
        best,
        warnings=(FitWarning(WarningCode.ACTIVE_BOUND, "E sits at its bound 0 and is not identified."),),
        cloud=fake_cloud(best),
        profile=tuple(fake_profile(best, name, open_below=name == "E") for name in ("E", "alpha", "beta")),
    )
    excluded = points.excluded_reason.dropna()
    study = StudyRecord(
        primary=PrimaryRecord("joint", COUNTS[0], forecast.rule),
        fits=(
            *parametric.values(),
            *(isoflop_fit(count, 0.5) for count in COUNTS),
            *(envelope_fit(count, 0.5) for count in COUNTS),
            kaplan_fit(COUNTS[0]),
        ),
        recommended=0,
        reason="smallest rollout error, and exact FLOPs are what a user pays",
        contest=(
            ContestRow("joint", COUNTS[0], 0.006, 6, chosen=True, weight=0.9, chi2=11.0),
            ContestRow("chinchilla", COUNTS[0], 0.031, 5, chosen=False, weight=0.1, chi2=180.0),
        ),
        adequacy={
            "joint": adequacy_of(0.003, 0.41, 0.8, None, "residuals are no larger than seed noise"),
            "chinchilla": adequacy_of(0.013, 1e-5, 1e-4, 1e-6, "residuals follow N and D"),
        },
        jackknife=JackknifeRecord(
            tuple(JackknifeRow(f"d{w}", 0.5 + 0.01 * i) for i, w in enumerate(WIDTHS)), 0.03
        ),
        rollout=rollout_rows(usable),
        averages=fake_averages(),
        frontier=tuple(frontier_rows()),
        frontier_by_count=fake_frontier_by_count(
            frontier_rows(), dict(zip(COUNTS, (0.0, 0.08, -0.06), strict=True))
        ),
        noise=noise_report(usable),
        reference=tuple(compare_schedules(points, SEED_SD)[0]),
        forecast=score_forecast(forecast, points),
        warnings=(FitWarning(WarningCode.LACK_OF_FIT, "The additive law leaves structure in N and D."),),
        excluded=tuple(Excluded(int(row), str(reason)) for row, reason in excluded.items()),
        verdict="The joint law describes these runs; the additive law would have been 3 % off.",
    )
    return study, forecast
