"""Laws of the loss on each source of a mixture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import plots
from analysis.records.averages import AveragedQuantity
from analysis.study.by_source import study_sources
from analysis.tables.sweep import by_source, by_source_on_the_way
from harness.records.columns import EVAL_COLUMNS, OF_SOURCE, as_table
from tests.fakes.surfaces import SMALL_JOINT, sweep_points

FACTORS = {"web": 1.0, "code": 0.8, "news": 1.1}
COUNT = "n_params_matmul"


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return sweep_points(SMALL_JOINT)


def evals(points: pd.DataFrame, factors: dict[str, float]) -> pd.DataFrame:
    """Losses on sources that are multiples of the loss on the mixture."""
    rows = [
        {
            "run_id": row.run_id, "point_id": row.point_id, "n_tokens": row.n_tokens, "task": name,
            "length": 0, "n_shot": 0, "split": OF_SOURCE, "metric": "loss",
            "value": factor * row.loss, "sem": 0.01, "n_items": 64, "chance": None,
        }
        for row in points.itertuples()
        for name, factor in factors.items()
    ]  # fmt: skip
    return as_table(rows, EVAL_COLUMNS)


def test_each_source_has_the_law_of_its_own_losses(points: pd.DataFrame) -> None:
    unigram = {name: float(factor * points.unigram_nats.iloc[0]) for name, factor in FACTORS.items()}
    found = study_sources(points, evals(points, FACTORS), unigram, COUNT, resamples=60)
    assert [each.source for each in found] == list(FACTORS)
    best = points[points.status == "done"].loss.min()
    for each in found:
        factor = FACTORS[each.source]
        assert each.lowest_loss == pytest.approx(factor * best)
        assert each.reason is None
        # A loss that is a multiple at every size has the same optima, and the multiple at each budget.
        for mine, web in zip(each.frontier, found[0].frontier, strict=True):
            assert mine.loss == pytest.approx(factor * web.loss, rel=0.03)
            assert mine.loss_low < mine.loss < mine.loss_high
    exponents = [
        next(a.value for a in each.averages if a.quantity == AveragedQuantity.A_EXACT) for each in found
    ]
    assert np.ptp(exponents) < 0.06
    rows = points.assign(source="web")[["source", "flops", "loss"]]
    assert len(plots.loss_by_source(rows, found[:1]).axes[0].lines) == 2


def test_a_source_without_a_law_says_why(points: pd.DataFrame) -> None:
    few = points[points.d_model == points.d_model.min()]
    found = study_sources(few, evals(few, {"web": 1.0}), {}, COUNT, resamples=20)
    assert found[0].reason
    assert found[0].averages == ()
    bare = study_sources(points, evals(points, {"web": 1.0}), {}, COUNT, resamples=0)
    assert bare[0].reason is None
    assert bare[0].averages == ()


def test_trunks_on_the_way_are_drawn_beside_their_ends(points: pd.DataFrame) -> None:
    done = points[points.status == "done"]
    every = evals(done, FACTORS)
    ends = by_source(every)
    assert by_source_on_the_way(every).empty
    trunk = every[every.run_id == done.run_id.iloc[0]].assign(point_id=None, value=9.0)
    rows = pd.concat([every, trunk], ignore_index=True)
    assert len(by_source(rows)) == len(ends)
    on_the_way = by_source_on_the_way(rows)
    assert set(on_the_way.source) == set(FACTORS)
    assert (on_the_way.loss == 9.0).all()
    panels = plots.loss_by_source_and_tokens(done, ends, on_the_way).axes
    assert [axes.get_title(loc="left") for axes in panels[:3]] == list(FACTORS)
    assert not panels[3].get_visible()
    rungs = done.rung.nunique()
    for axes in panels[:3]:
        lines = [line for line in axes.lines if line.get_marker() == "None"]
        assert len(axes.lines) == rungs + len(lines) == rungs + 1
        assert set(lines[0].get_ydata()) == {9.0}
    assert len(plots.loss_by_source_and_tokens(done, ends, on_the_way[:0]).axes[0].lines) == rungs
