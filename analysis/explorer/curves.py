"""Curves of a live page: losses as logged and smoothed, learning rates, and ends forecast on the way.

References: Cleveland 1979, "Robust locally weighted regression and smoothing scatterplots", Journal of the
American Statistical Association 74 (local lines, here with equal weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array, Index
from analysis.explorer.vega import Json
from analysis.records.curves import Tried

POINTS = 48  # of one trajectory at most
WINDOW = 0.1  # half width of the smoothing, as a share of the tokens
RATE_ERROR = 0.005  # of a drawn schedule, as a share of the peak
# The page reads losses as whole numbers of these units, each but the first as the step from the one before.
UNITS = {"raw": 1e-3, "smoothed": 2e-4, "evaluated": 1e-4}
COLUMNS = {"raw": "train_loss", "smoothed": "train_loss", "evaluated": "eval_loss"}
ENOUGH = 20  # evaluations of a trunk, with which they are shown first
APART = 0.05  # relative: losses on the evaluation text that are so far from those of training come first


def curve_data(done: pd.DataFrame, points: pd.DataFrame, curves: pd.DataFrame) -> Json:
    """Return all curves of a sweep as the page's script reads them.

    `rows` has one entry a trunk and a branch: runs of finished points first, then others, such as reference
    runs and runs that diverged. Their tokens are places in `tokens`, because many curves share them.

    Args:
        done: finished points.
        points: all end points of the sweep.
        curves: losses along training; may be empty.
    """
    tokens: dict[tuple[int, ...], int] = {}
    rung_of = dict(zip(points["run_id"].astype(str), points["rung"].astype(str), strict=True))
    shown, finished = set(done["rung"].astype(str)), set(done["run_id"].astype(str))
    found: list[Json] = []
    for (run, point), segment in curves.groupby(["run_id", "point_id"], dropna=False) if len(curves) else ():
        rung = rung_of.get(str(run))
        if rung not in shown:
            continue
        ordered = segment.sort_values("step")
        row: Json = {
            "run": str(run),
            "rung": rung,
            "trunk": not isinstance(point, str),
            "seen": str(run) in finished,
            "flops_per_token": float((ordered["flops"] / ordered["n_tokens"]).iloc[-1]),
            "rates": _rates(ordered),
        }
        for kind, column in COLUMNS.items():
            known = ordered[np.isfinite(ordered[column].astype(float)) & (ordered[column] > 0)]
            if len(known):
                at, losses = _shown(known, column, smooth=kind == "smoothed")
                place = tokens.setdefault(tuple(at.tolist()), len(tokens))
                row[kind] = [place, *_steps(losses, UNITS[kind])]
        if any(kind in row for kind in COLUMNS):
            found.append(row)
    found.sort(key=lambda row: not row["seen"])
    kinds = [kind for kind in COLUMNS if any(kind in row for row in found)]
    return {
        "rows": found,
        "tokens": [list(each) for each in tokens],
        "units": UNITS,
        "kinds": kinds,
        "first": _first_kind(found, kinds),
        "window": WINDOW,
    }


def _first_kind(rows: Sequence[Json], kinds: Sequence[str]) -> str | None:
    """Return the losses that a page shows first.

    They are those on the evaluation text if there are enough, or if training ends at other losses: its text
    may be another one.
    """
    evaluated = [len(row.get("evaluated", ())) - 1 for row in rows if row["trunk"]]
    many = bool(evaluated) and np.median(evaluated) >= ENOUGH
    ends = [
        [sum(row[kind][1:]) * UNITS[kind] for kind in ("smoothed", "evaluated")]
        for row in rows
        if "smoothed" in row and "evaluated" in row
    ]
    apart = bool(ends) and np.median([abs(one / other - 1) for one, other in ends]) > APART
    order = ("evaluated", "smoothed") if many or apart else ("smoothed", "evaluated")
    return next((kind for kind in order if kind in kinds), None)


def _shown(rows: pd.DataFrame, column: str, *, smooth: bool) -> tuple[Index, Array]:
    """Return tokens and losses of the rows that are drawn."""
    tokens, losses = rows["n_tokens"].to_numpy(np.int64), rows[column].to_numpy(float)
    places = thinned(tokens)
    if smooth:
        return tokens[places], smoothed(tokens, losses, places)
    return tokens[places], losses[places]


def thinned(tokens: Index) -> Index:
    """Return the places of rows that are drawn: both ends, and some evenly along tokens and their logs."""
    if len(tokens) <= POINTS:
        return np.arange(len(tokens))
    half = POINTS // 2
    wanted = np.concatenate([spaced(tokens[0], tokens[-1], half) for spaced in (np.linspace, np.geomspace)])
    return np.unique(np.searchsorted(tokens, wanted).clip(0, len(tokens) - 1))


def smoothed(tokens: Index, losses: Array, places: Index) -> Array:
    """Return the losses at some rows on straight lines in log tokens through the rows near each.

    Near are tokens from 1 − WINDOW to 1 + WINDOW of the row's own; lines keep the end of a cooldown where it
    is, which a mean would raise.
    """
    found = losses[places].copy()
    for i, place in enumerate(places):
        low, high = np.searchsorted(tokens, tokens[place] * np.array([1 - WINDOW, 1 + WINDOW]))
        if high - low < 3:
            continue
        x = np.log(tokens[low:high] / tokens[place])
        found[i] = np.polyfit(x, losses[low:high], 1)[1]
    return found


def _steps(losses: Array, unit: float) -> list[int]:
    whole = np.round(losses / unit).astype(int)
    return [int(step) for step in np.diff(whole, prepend=0)]


def _rates(rows: pd.DataFrame) -> list[list[float]]:
    """Return tokens and learning rates at the corners of a schedule; empty if no rates were logged."""
    rate = rows["hidden_lr"].to_numpy(float)
    if len(rate) == 0 or not np.isfinite(rate).all() or rate.max() <= 0:
        return []
    tokens = rows["n_tokens"].to_numpy(float)
    kept = corners(tokens, rate, RATE_ERROR * rate.max())
    return [tokens[kept].tolist(), [float(f"{each:.4g}") for each in rate[kept]]]


def corners(x: Array, y: Array, error: float) -> Index:
    """Return the places between which straight lines miss a curve by no more than `error`.

    References: Douglas & Peucker 1973, Cartographica 10.
    """
    kept, open_parts = {0, len(x) - 1}, [(0, len(x) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        line = np.interp(x[first : last + 1], x[[first, last]], y[[first, last]])
        # The ends stay, whatever they are: rows of the same tokens have several values.
        off = np.abs(y[first : last + 1] - line)[1:-1]
        if off.max(initial=0.0) > error:
            worst = first + 1 + int(np.argmax(off))
            kept.add(worst)
            open_parts += [(first, worst), (worst, last)]
    return np.array(sorted(kept))


def forecast_ends(done: pd.DataFrame, tried: Sequence[Tried], places: Mapping[Any, int]) -> list[Json]:
    """Return where finished points were going to end at shares of their training."""
    rows = {str(point["point_id"]): (places[index], point) for index, point in done.iterrows()}
    found = []
    for each in tried:
        forecast = each.forecast
        if forecast.end not in rows or forecast.loss is None or forecast.interval is None:
            continue
        place, point = rows[forecast.end]
        found.append(
            {
                "id": place,
                "rung": str(point["rung"]),
                "share": each.share,
                "d": float(point["n_tokens"]),
                "c": float(point["flops"]),
                "loss": forecast.loss,
                "low": forecast.interval[0],
                "high": forecast.interval[1],
            }
        )
    return found
