"""Live figure of a mixture: loss on each source against compute, with its lowest loss and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.explorer.charts import COMPUTE
from analysis.explorer.sections.figure import (
    SHOWN,
    Card,
    LiveFigure,
    Told,
    by_size,
    dots,
    group_bands,
    group_lines,
    section_chart,
)
from analysis.explorer.vega import Axis, Json, Series, upright
from analysis.plots.style import BLACK, VERMILION
from analysis.records.sources import SourceRecord

BEST = Series("best", "lowest loss, with interval", BLACK, "line")


def sources_figure(
    losses: pd.DataFrame,
    sources: Sequence[SourceRecord],
    places: Mapping[str, int],
    *,
    with_law: bool = False,
) -> LiveFigure:
    """Return the figure of the losses on the sources.

    Args:
        losses: one row a run and source: `source`, `point_id`, `flops`, `loss`.
        sources: laws of the sources.
        places: {point_id: its row in the page's table of points}.
        with_law: whether the page has a law with answers.
    """
    names = [each.source for each in sources]
    rows: list[Json] = [
        {
            "g": names.index(row["source"]),
            "id": places.get(row["point_id"]),
            "c": float(row["flops"]),
            "loss": float(row["loss"]),
        }
        for row in losses[losses["source"].isin(names)].to_dict("records")
    ]
    best: list[Json] = [
        {"g": names.index(each.source), "c": row.flops, "loss": row.loss,
         "low": row.loss_low, "high": row.loss_high}
        for each in sources
        for row in each.frontier
    ]  # fmt: skip
    chart = section_chart(
        "Loss of every run on each source against compute, with the lowest loss that a budget reaches",
        (COMPUTE, Axis("loss on the source, nats per token")),
        [{"name": "source_losses", "transform": [SHOWN]}, {"name": "source_best", "transform": [SHOWN]}],
        (
            [("source_losses", "c"), ("source_best", "c")],
            [("source_losses", "loss"), ("source_best", "loss")],
        ),
        [
            *([upright("(at ? at.c : null)", VERMILION, dash=(5, 3))] if with_law else []),
            group_bands("source_best", "c", "low", "high", "best"),
            group_lines("source_best", "c", "loss", "best"),
            *dots("source_losses", "c", "loss"),
        ],
        groups=by_size("source", names),
        series=(BEST,),
        card=Card((Told("C", "c", "flops"), Told("loss on the source, nats", "loss"))),
    )
    return LiveFigure((chart,), {"source_losses": rows, "source_best": best})
