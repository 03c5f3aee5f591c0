"""Live figures of forecasts: the sealed one against measured losses, and ends forecast on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.explorer.sections.figure import (
    SHOWN,
    Card,
    LiveFigure,
    Told,
    bars,
    covered,
    dots,
    drawn,
    having,
    level,
    section_chart,
)
from analysis.explorer.vega import (
    LOSS_TITLE,
    OF_ALL,
    Axis,
    Covered,
    Json,
    Series,
    across,
    formula,
    in_unit,
    upright,
)
from analysis.laws import family
from analysis.plots.curves import LOOKS, SPREAD
from analysis.plots.law_tests import OVER_LAWS, law_styles
from analysis.plots.style import BLACK, VERMILION
from analysis.records.curves import Tried
from analysis.records.forecast import ForecastCell, ForecastRecord, ScoreRecord

FACTOR = Axis("compute over the largest fitted run", "times")
SAME = Series("same", "forecast = measured", BLACK, "dashes")
CARD = Card(
    (
        Told("N", "n", "si"),
        Told("D", "d", "si"),
        Told("C", "c", "flops"),
        Told("times the largest fitted run", "factor", "times"),
        Told("forecast", "predicted", "loss", "low", "high"),
        Told("measured", "loss", "loss"),
        Told("forecast − measured", "error", "per_cent", "error_low", "error_high"),
        Told("inside the interval", "inside", "words"),
    ),
    title="rung",
)
END_CARD = Card(
    (
        Told("share of training known", "share", "share"),
        Told("loss at that moment", "now", "loss"),
        Told("forecast", "predicted", "loss", "low", "high"),
        Told("measured", "loss", "loss"),
        Told("forecast − measured", "error", "per_cent", "error_low", "error_high"),
        Told("last step", "last", "si"),
        Told("run", "run", "words"),
    ),
    title="rung",
)


def forecast_figure(
    number: int,
    forecast: ForecastRecord,
    score: ScoreRecord | None,
    places: Mapping[tuple[int, int], Sequence[int]],
    *,
    with_law: bool = False,
) -> LiveFigure:
    """Return the figure of a sealed forecast: predicted against measured loss, and errors by extrapolation.

    Args:
        number: place of the forecast in the report.
        forecast: the forecast.
        score: its score; None if no held-out run is finished.
        places: {(N, D) of a held-out cell: rows of its runs in the page's table of points}.
        with_law: whether the page has a law with answers, which the legend follows.
    """
    truth = {} if score is None else {cell.key: cell.loss for cell in score.cells}
    sealed = OVER_LAWS if forecast.averaged else forecast.law
    laws = [(sealed, forecast.cells), *((loser.law, loser.cells) for loser in forecast.losers)]
    shown = f"forecast_{number}"
    groups = _groups(sealed, [law for law, _ in laws])
    rows = [
        _row(place, cell, truth.get(cell.key), places)
        for place, (_, cells) in enumerate(laws)
        for cell in cells
    ]
    data = [{"name": shown, "transform": [*_losses_shown(), SHOWN]}, having("measured", shown, "loss")]
    answer = _Answer(forecast) if with_law else None
    charts = _measured(data, groups, answer) if truth else (_ahead(shown, data, groups, answer),)
    return LiveFigure(charts, {shown: rows})


class _Answer:
    """The answer at the chosen budget: its compute over the largest fitted one, and its loss."""

    def __init__(self, forecast: ForecastRecord) -> None:
        fitted = forecast.cells[0].flops / forecast.cells[0].factor
        beyond, best = f"at.c / {fitted:.6g}", in_unit("at.loss")
        self.compute: list[Covered] = [f"[{beyond}]"]
        self.loss: list[Covered] = [f"[{best}]"]
        self.at_compute = [upright(f"(at ? {beyond} : null)", VERMILION, dash=(5, 3))]
        self.at_loss = [across(f"(at ? {best} : null)", VERMILION)]


def _groups(sealed: str, laws: Sequence[str]) -> tuple[Series, ...]:
    """Return one group a law, of which the sealed forecast is shown at first."""
    styles = law_styles(sealed, laws)
    return tuple(
        Series(
            f"law{place}",
            family(law),
            styles[law][0],
            "point",
            on=place == 0,
            law=OF_ALL if law == OVER_LAWS else family(law),
        )
        for place, law in enumerate(laws)
    )


def _row(
    place: int, cell: ForecastCell, loss: float | None, places: Mapping[tuple[int, int], Sequence[int]]
) -> Json:
    """Return a held-out cell with its forecast, beside its loss if that is measured."""
    runs = list(places.get(cell.key, ()))
    row: Json = {"g": place, "id": runs[0] if runs else None, "runs": runs, "rung": cell.rung}
    row["n"] = cell.n_params
    row |= {"d": cell.n_tokens, "c": cell.flops, "factor": cell.factor, "loss": loss}
    row |= {"predicted": cell.predicted, "low": cell.low, "high": cell.high}
    for field, value in (("error", cell.predicted), ("error_low", cell.low), ("error_high", cell.high)):
        row[field] = None if loss is None else 100 * (value / loss - 1)
    row["inside"] = None if loss is None else "yes" if cell.low <= loss <= cell.high else "no"
    return row


def _losses_shown() -> list[Json]:
    """Return the losses of a row in the unit that the reader chose."""
    return [
        formula(f"{field}_shown", f"isValid(datum.{field}) ? {in_unit(f'datum.{field}')} : null")
        for field in ("predicted", "low", "high", "loss")
    ]


def _ahead(shown: str, data: list[Json], groups: tuple[Series, ...], answer: _Answer | None) -> Json:
    """Return the chart of a forecast of which nothing is measured yet."""
    return section_chart(
        "Forecast loss of the held-out runs by how far their compute lies beyond the largest fitted run",
        (FACTOR, LOSS_TITLE),
        data,
        (
            [(shown, "factor"), *(answer.compute if answer else [])],
            [(shown, "low_shown"), (shown, "high_shown"), *(answer.loss if answer else [])],
        ),
        [
            *([*answer.at_compute, *answer.at_loss] if answer else []),
            bars(shown, "factor", "low_shown", "high_shown"),
            *dots(shown, "factor", "predicted_shown"),
        ],
        groups=groups,
        card=CARD,
    )


def _measured(data: list[Json], groups: tuple[Series, ...], answer: _Answer | None) -> tuple[Json, Json]:
    """Return the charts of a forecast beside what was measured: losses, and errors by extrapolation."""
    against = section_chart(
        "Forecast against measured loss of the held-out runs, with the interval of each",
        (
            Axis(f"'measured ' + {LOSS_TITLE.title}", computed=True),
            Axis(f"'forecast ' + {LOSS_TITLE.title}", computed=True),
        ),
        data,
        (
            [("measured", "loss_shown")],
            [
                ("measured", "low_shown"),
                ("measured", "high_shown"),
                ("measured", "loss_shown"),
                *(answer.loss if answer else []),
            ],
        ),
        [
            _diagonal(),
            *(answer.at_loss if answer else []),
            bars("measured", "loss_shown", "low_shown", "high_shown"),
            *dots("measured", "loss_shown", "predicted_shown"),
        ],
        groups=groups,
        series=(SAME,),
        card=CARD,
    )
    errors = section_chart(
        "Error of the forecast by how far the compute lies beyond the largest fitted run",
        (FACTOR, Axis("forecast − measured, %", log=False, zero=True)),
        data,
        (
            [("measured", "factor"), *(answer.compute if answer else [])],
            [("measured", "error_low"), ("measured", "error_high")],
        ),
        [
            level(0.0),
            *(answer.at_compute if answer else []),
            bars("measured", "factor", "error_low", "error_high"),
            *dots("measured", "factor", "error"),
        ],
        groups=groups,
        card=CARD,
    )
    return against, errors


def _diagonal() -> Json:
    """Return the line on which forecast and measurement agree."""
    ends = {
        "x": {"scale": "x", "signal": "domain('x')[0]"},
        "y": {"scale": "y", "signal": "domain('x')[0]"},
        "x2": {"scale": "x", "signal": "domain('x')[1]"},
        "y2": {"scale": "y", "signal": "domain('x')[1]"},
        "stroke": {"value": BLACK},
        "strokeDash": {"value": [5, 4]},
        "opacity": {"signal": "show_same ? 0.7 : 0"},
    }
    return {"type": "rule", "clip": True, "interactive": False, "encode": {"update": ends}}


def ends_figure(tried: Sequence[Tried], places: Mapping[str, int], rungs: Mapping[str, str]) -> LiveFigure:
    """Return the figure of ends forecast on the way: their errors by the share of training that was known.

    Args:
        tried: the forecasts with the losses that came true.
        places: {end: its row in the page's table of points}.
        rungs: {end: its size by name}.
    """
    bases = [basis for basis in LOOKS if any(each.forecast.basis is basis for each in tried)]
    rows: list[Json] = []
    for share in sorted({each.share for each in tried}):
        own = sorted(
            (each for each in tried if each.share == share and each.forecast.basis in bases),
            key=lambda each: (each.forecast.last_step, each.forecast.run),
        )
        at = share + SPREAD * np.linspace(-1, 1, len(own)) if len(own) > 1 else np.full(len(own), share)
        rows += [
            {"x": float(x)} | _end(each, bases.index(each.forecast.basis), places, rungs)
            for x, each in zip(at, own, strict=True)
            if each.forecast.basis is not None
        ]
    chart = section_chart(
        "Error of ends forecast on the way, by the share of training that was known",
        (
            Axis("share of training that was known", "share", log=False),
            Axis("forecast − measured, %", log=False, zero=True),
        ),
        [
            {"name": "ends", "transform": [SHOWN]},
            having("bounded", "ends", "error_low", "error_high"),
            drawn(["ends"], ["error", "error_low", "error_high"]),
        ],
        covered("x"),
        [
            level(0.0),
            bars("bounded", "x", "error_low", "error_high", width=0.8),
            *dots("ends", "x", "error", size=28),
        ],
        groups=[
            Series(f"basis{place}", LOOKS[basis][2], ("#0072B2", "#D55E00")[place], "point")
            for place, basis in enumerate(bases)
        ],
        card=END_CARD,
    )
    return LiveFigure((chart,), {"ends": rows})


def _end(each: Tried, group: int, places: Mapping[str, int], rungs: Mapping[str, str]) -> Json:
    found = each.forecast
    low, high = found.interval or (None, None)
    row: Json = {"g": group, "id": places.get(found.end), "rung": rungs.get(found.end, found.end)}
    row |= {"run": found.run, "share": each.share, "now": found.now, "last": found.last_step}
    row |= {"predicted": found.loss, "low": low, "high": high, "loss": each.loss, "error": 100 * each.error}
    for name, end in (("error_low", low), ("error_high", high)):
        row[name] = None if end is None else 100 * (end / each.loss - 1)
    return row
