"""Several sealed forecasts of one sweep: their order, their scores, and the one that a study quotes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.forecast.seal import score_forecast
from analysis.records.forecast import ForecastRecord, ScoreRecord

Scored = tuple[ForecastRecord, ScoreRecord]


def score_all(
    forecasts: ForecastRecord | Sequence[ForecastRecord] | None, points: pd.DataFrame
) -> list[Scored]:
    """Return each sealed forecast with its score on its own cells, in the order of sealing.

    A cell counts whatever its role is now: a later forecast may be fitted to it.

    Args:
        forecasts: one forecast, several in the order of sealing, or none.
        points: finished runs, as `score_forecast` takes them.
    """
    given = [forecasts] if isinstance(forecasts, ForecastRecord) else list(forecasts or ())
    return [(forecast, score_forecast(forecast, points)) for forecast in given]


def quoted(scored: Sequence[Scored]) -> Scored | None:
    """Return the forecast that a study quotes, with its score; None without a forecast.

    It is the first whose cells are all finished; without one the first with a finished cell, else the first.
    The order of sealing decides, so no score can choose.
    """
    complete = [pair for pair in scored if pair[1].cells and not pair[1].missing]
    begun = [pair for pair in scored if pair[1].cells]
    return next(iter([*complete, *begun, *scored]), None)
