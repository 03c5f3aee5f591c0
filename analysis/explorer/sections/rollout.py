"""The live figure of laws fitted below a compute limit: the error of each prediction beyond it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.explorer.sections.figure import (
    SHOWN,
    Card,
    LiveFigure,
    Told,
    dots,
    group_lines,
    level,
    section_chart,
)
from analysis.explorer.vega import Axis, Json, Series
from analysis.laws import family
from analysis.plots.law_tests import SMALLEST_ERROR, law_styles, rms_by_factor
from analysis.plots.style import GREY
from analysis.records.fits import RolloutRow

CARD = Card(
    (
        Told("N", "n", "si"),
        Told("D", "d", "si"),
        Told("times the fitted compute", "factor", "times"),
        Told("fitted up to C", "c_fit", "flops"),
        Told("cells fitted", "n_fit", "plain"),
        Told("predicted", "predicted", "loss"),
        Told("measured", "loss", "loss"),
        Told("predicted − measured", "error", "per_cent"),
    ),
    title="rung",
)
POINTS = Series("points", "single predictions", GREY, "point")
RMS = Series("rms", "RMS", GREY, "line")


def rollout_figure(
    predictions: Sequence[RolloutRow], chosen: str, places: Mapping[tuple[int, int], Sequence[int]]
) -> LiveFigure:
    """Return the figure of the size of each error against how far the cell lies beyond the fit.

    Args:
        predictions: predictions of dearer cells from cheaper ones.
        chosen: the chosen law, blue.
        places: {(N, D) of a cell: rows of its runs in the page's table of points}.
    """
    styles = law_styles(chosen, [row.law for row in predictions])
    laws = list(styles)
    groups = [Series(f"law{place}", family(law), styles[law][0], "point") for place, law in enumerate(laws)]
    rows: list[Json] = []
    for row in predictions:
        error = 100 * (row.predicted / row.loss - 1)
        runs = list(places.get((round(row.n_params), round(row.n_tokens)), ()))
        rows.append(
            {"g": laws.index(row.law), "id": runs[0] if runs else None, "runs": runs, "rung": row.rung}
            | {"n": row.n_params, "d": row.n_tokens, "factor": row.factor, "c_fit": row.c_fit}
            | {"n_fit": row.n_fit, "predicted": row.predicted, "loss": row.loss, "error": error}
            | {"size": max(abs(error), SMALLEST_ERROR)}
        )
    means: list[Json] = [
        {"g": laws.index(law), "factor": factor, "size": rms}
        for law, found in rms_by_factor(predictions).items()
        for factor, rms in found
    ]
    chart = section_chart(
        "Error of laws fitted below a compute limit, by how far the compute of a run lies beyond it",
        (
            Axis("compute of the run over the largest in the fit", "times"),
            Axis("size of the error, % of the loss"),
        ),
        [{"name": "rollouts", "transform": [SHOWN]}, {"name": "rollout_rms", "transform": [SHOWN]}],
        ([("rollouts", "factor")], [("rollouts", "size")]),
        [
            level(1.0),
            *dots("rollouts", "factor", "size", size=14, series="points"),
            group_lines("rollout_rms", "factor", "size", "rms"),
        ],
        groups=groups,
        series=(POINTS, RMS),
        card=CARD,
    )
    return LiveFigure((chart,), {"rollouts": rows, "rollout_rms": means})
