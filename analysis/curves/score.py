"""Scores of forecasts that could have been made on the way, against the ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.curves.forecast import forecast_end
from analysis.curves.run import Run
from analysis.intervals import LEVEL
from analysis.records.curves import ShareScore, Tried

SHARES = (0.25, 0.5, 0.75)


def try_forecasts(runs: Sequence[Run], shares: Sequence[float] = SHARES, level: float = LEVEL) -> list[Tried]:
    """Forecast every reached end from shares of its training, as if later rows were unknown.

    Runs of at most its cost count as finished by then, because a sweep trains cheap runs first.
    """
    tried = []
    for run in runs:
        before = [other for other in runs if other is not run and other.cost <= 1.001 * run.cost]
        for end in run.ends:
            for share in shares if end.loss is not None else ():
                known = run.until(share * end.step)
                planned = next(each for each in known.ends if each.name == end.name)
                forecast = forecast_end(known, planned, before, level)
                if forecast.loss is not None and end.loss is not None:
                    tried.append(Tried(share, forecast, end.loss))
    return tried


def score(tried: Sequence[Tried], level: float = LEVEL) -> tuple[ShareScore, ...]:
    """Return the errors by share of training."""
    scores = []
    for share in sorted({each.share for each in tried}):
        own = [each for each in tried if each.share == share]
        errors = np.array([each.error for each in own])
        now = np.array([(each.forecast.now or np.nan) / each.loss - 1 for each in own])
        widths = [(i[1] - i[0]) / 2 / each.loss for each in own if (i := each.forecast.interval)]
        scores.append(
            ShareScore(
                share,
                len(own),
                float(100 * np.sqrt(np.mean(errors**2))),
                float(100 * np.sqrt(np.nanmean(now**2))),
                float(np.mean([each.inside for each in own])),
                float(100 * np.median(widths)),
                level,
            )
        )
    return tuple(scores)
