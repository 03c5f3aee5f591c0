"""Laws of the loss on each source of a mixture, over the same runs as the law of the mixture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.approaches.everything import frontier_flops
from analysis.averaging.average import average_laws
from analysis.averaging.quantities import averaged_frontier, averaged_quantities
from analysis.contest.adequacy import candidates
from analysis.intervals import LEVEL
from analysis.records.sources import SourceRecord
from analysis.tables.sweep import by_source
from analysis.tables.table import load_table
from harness.records.errors import InputError

BEYOND = 10.0  # budgets of a source's frontier reach this factor beyond the largest measured compute


def study_sources(
    points: pd.DataFrame,
    evals: pd.DataFrame,
    unigram: Mapping[str, float],
    count: str,
    *,
    resamples: int,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[SourceRecord, ...]:
    """Fit the loss on each source over all laws that the runs cannot exclude.

    Noise of a source's loss is measured as that of the mixture is: between seeds, of this source alone.

    Args:
        points: points.parquet.
        evals: evals.parquet.
        unigram: loss of a model that knows token frequencies alone, by source, nats per token.
        count: column that holds N.
        resamples: redrawn estimates of each law; with 0 there is no law.
        level: share of all intervals.
        seed: of everything random.
    """
    found = []
    for name, rows in by_source(evals).groupby("source", sort=False):
        own = points.drop(columns=["loss", "loss_sem"]).merge(rows, on="point_id", how="inner")
        own = own.assign(
            loss_blocks=None,
            bits_per_byte=float("nan"),
            unigram_nats=unigram.get(str(name), float("nan")),
        )
        found.append(_of_source(str(name), own, count, resamples, level, seed))
    return tuple(found)


def _of_source(
    name: str, points: pd.DataFrame, count: str, resamples: int, level: float, seed: int
) -> SourceRecord:
    done = points[points["status"] == "done"]
    losses, sems = done["loss"].to_numpy(float), done["loss_sem"].to_numpy(float)
    best = int(np.argmin(losses))
    sem = None if np.isnan(sems[best]) else float(sems[best])
    known = SourceRecord(source=name, n_points=len(done), lowest_loss=float(losses[best]), lowest_sem=sem)
    if not resamples:
        return known
    try:
        table = load_table(points, count=count)
        average = average_laws(table, candidates(table), resamples=resamples, seed=seed)
        quantities = averaged_quantities(average, table, frontier_flops(table), level)
        frontier = averaged_frontier(average, table, frontier_flops(table, BEYOND), level)
    except InputError as error:
        return SourceRecord(**vars(known) | {"reason": str(error)})
    return SourceRecord(**vars(known) | {"averages": quantities, "frontier": frontier})
