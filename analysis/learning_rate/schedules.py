"""Comparison of trunk + branch with separately tuned cosine runs at the same cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.records.fits import ReferenceRow
from analysis.records.warning_codes import FitWarning, WarningCode


def compare_schedules(
    points: pd.DataFrame, seed_sd: float | None
) -> tuple[list[ReferenceRow], list[FitWarning]]:
    """Compare the mean loss of trunk + branch with that of the best cosine rate, cell by cell.

    Args:
        points: points.parquet of a sweep.
        seed_sd: relative noise between seeds; without it there is no standard error.

    Returns:
        One row a cell, and a warning for each cell whose best cosine rate lies at the end of its sweep.
    """
    done = points[points.status == "done"]
    trunks = done[done.role.isin(["fit", "holdout"]) & (done.schedule == "wsd")]
    cosine = done[(done.role == "reference") & (done.schedule == "cosine")]
    rows, warnings = [], []
    for _, runs in cosine.groupby(["rung", "n_tokens"], sort=False):
        rung, n_tokens = str(runs.rung.iloc[0]), int(runs.n_tokens.iloc[0])
        branch = trunks[(trunks.rung == rung) & (trunks.n_tokens == n_tokens)]
        if branch.empty:
            continue
        scale = (runs.hidden_lr / branch.hidden_lr.iloc[0]).round(6)
        by_scale = runs.loss.groupby(scale).mean()
        scales = by_scale.index.to_numpy(float)
        best = float(scales[by_scale.to_numpy().argmin()])
        tuned = runs[scale == best]
        rows.append(_row(rung, n_tokens, branch.loss, tuned.loss, best, seed_sd))
        if best in (scales.min(), scales.max()):
            warnings.append(_not_tuned(rung, n_tokens, best, len(scales)))
    return rows, warnings


def _row(
    rung: str, n_tokens: int, branch: pd.Series, tuned: pd.Series, lr_scale: float, seed_sd: float | None
) -> ReferenceRow:
    wsd, cosine = float(branch.mean()), float(tuned.mean())
    spread = (
        None
        if seed_sd is None
        else float(seed_sd * np.hypot(wsd / len(branch) ** 0.5, cosine / len(tuned) ** 0.5))
    )
    return ReferenceRow(
        rung=rung,
        n_tokens=n_tokens,
        wsd_loss=wsd,
        cosine_loss=cosine,
        difference=wsd - cosine,
        se=spread,
        lr_scale=lr_scale,
        n_seeds=len(tuned),
    )


def _not_tuned(rung: str, n_tokens: int, lr_scale: float, rates: int) -> FitWarning:
    where = "at the only rate tried" if rates == 1 else f"at the end of the {rates} rates tried"
    return FitWarning(
        WarningCode.EDGE_OPTIMUM,
        f"the cosine reference of {rung} at {n_tokens:.3g} tokens is best {where} ({lr_scale:g} times the "
        "recipe's): it may not be fully tuned, which favours trunk + branch",
    )
