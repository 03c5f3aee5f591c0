"""fits.json of a made-up sweep."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tests.fakes.fits import COUNTS, fit_dict, frontier_rows, kaplan_fit, noise_and_reference, power_fit
from tests.fakes.forecast import make_forecast, rollout_rows
from tests.fakes.law import SEED_SD, WIDTHS
from tests.fakes.uncertainty import fake_cloud, fake_frontier_by_count, fake_profile

Json = dict[str, Any]


def make_adequacy() -> Json:
    """How well each law describes the runs."""
    return {
        law: {
            "residual_rms": rms,
            "residual_max": 2.4 * rms,
            "seed_sd": SEED_SD,
            "lack_of_fit_p": p,
            "structure": [{"axis": axis, "p": trend_p, "share": 0.5} for axis in ("N", "D", "D/N", "N×D")],
            "gamma_test_p": gamma_p,
            "verdict": words,
        }
        for law, rms, p, trend_p, gamma_p, words in (
            ("joint", 0.003, 0.41, 0.8, None, "residuals are no larger than seed noise"),
            ("chinchilla", 0.013, 1e-5, 1e-4, 1e-6, "residuals follow N and D: the form does not hold"),
        )
    }


def entrant(law: str, rollout_rms: float, bic: float, n_params: int) -> Json:
    """A law in the contest, which joint wins."""
    return {
        "law": law,
        "count": COUNTS[0],
        "rollout_rms": rollout_rms,
        "bic": bic,
        "n_params": n_params,
        "chosen": law == "joint",
    }


def make_fits(points: pd.DataFrame) -> tuple[Json, Json]:
    """The contents of fits.json and forecast.json."""
    usable = points[(points.role == "fit") & (points.status == "done")]
    parametric = [fit_dict(usable, law, count) for law in ("joint", "chinchilla") for count in COUNTS]
    chosen = {fit["law"]: fit for fit in reversed(parametric)}
    sealed, score = make_forecast(chosen, points)
    noise, reference = noise_and_reference(points)
    chosen["joint"]["warnings"] = [
        {"code": "active_bound", "message": "E sits at its bound 0, so these runs do not identify it."}
    ]
    best = chosen["joint"]
    best["cloud"] = fake_cloud(best)
    best["profile"] = [fake_profile(best, name, open_below=name == "E") for name in ("E", "alpha", "beta")]
    for fit in parametric:
        fit["largest_flops"] = float(usable.flops.max())
    study = {
        "schema": 1,
        "primary": {"law": "joint", "count": "n_params_matmul", "rule": sealed["rule"]},
        "fits": [
            *parametric,
            *(power_fit(a, c, 0.5) for a in ("isoflop", "envelope") for c in COUNTS),
            kaplan_fit(COUNTS[0]),
        ],
        "recommended": 0,
        "reason": "smallest rollout error, and exact FLOPs are what a user pays",
        "contest": [entrant("joint", 0.006, -240.0, 6), entrant("chinchilla", 0.031, -170.0, 5)],
        "adequacy": make_adequacy(),
        "jackknife": {
            "a": [{"left_out": f"d{w}", "a": 0.5 + 0.01 * i} for i, w in enumerate(WIDTHS)],
            "a_se": 0.03,
        },
        "rollout": rollout_rows(usable),
        "frontier": frontier_rows(),
        "frontier_by_count": fake_frontier_by_count(
            frontier_rows(), dict(zip(COUNTS, (0.0, 0.08, -0.06), strict=True))
        ),
        "noise": noise,
        "reference": reference,
        "learning_rate": None,
        "forecast": score,
        "warnings": [{"code": "lack_of_fit", "message": "The additive law leaves structure in N and D."}],
        "excluded": [
            {"row": int(row), "reason": reason} for row, reason in points.excluded_reason.dropna().items()
        ],
        "verdict": "The joint law describes these runs; the additive law would have been 3 % off.",
    }
    return study, sealed
