"""Curves of a live page: every trunk and branch, smoothed without moving ends, schedules by their corners."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.explorer.curves import (
    ENOUGH,
    UNITS,
    WINDOW,
    corners,
    curve_data,
    forecast_ends,
    smoothed,
    thinned,
)
from analysis.explorer.vega import Json
from analysis.report.build import Sweep, read_sweep
from tests.fakes.sweep import make_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return read_sweep(make_sweep(tmp_path_factory.mktemp("results") / "fake"))


@pytest.fixture(scope="module")
def found(sweep: Sweep) -> Json:
    return curve_data(sweep.finished, sweep.points, sweep.curves)


def losses_of(data: Json, row: Json, kind: str) -> tuple[list[int], np.ndarray]:
    """Tokens and losses as the page reads them."""
    place, *steps = row[kind]
    return data["tokens"][place], np.cumsum(steps) * data["units"][kind]


def test_every_trunk_and_branch_of_every_run_is_there(sweep: Sweep, found: Json) -> None:
    parts = sweep.curves.groupby(["run_id", "point_id"], dropna=False).ngroups
    assert len(found["rows"]) == parts
    seen = [row["seen"] for row in found["rows"]]
    assert seen == sorted(seen, reverse=True)
    references = set(sweep.points.loc[sweep.points["role"] == "reference", "run_id"])
    assert {row["run"] for row in found["rows"] if not row["seen"]} == references
    assert curve_data(sweep.finished, sweep.points, sweep.curves.head(0))["rows"] == []


def test_losses_are_the_logged_ones_to_the_last_row(sweep: Sweep, found: Json) -> None:
    row = next(row for row in found["rows"] if row["trunk"])
    own = sweep.curves[(sweep.curves["run_id"] == row["run"]) & sweep.curves["point_id"].isna()]
    for kind, column in (("raw", "train_loss"), ("evaluated", "eval_loss")):
        logged = own.dropna(subset=[column]).set_index("n_tokens")[column]
        tokens, losses = losses_of(found, row, kind)
        assert tokens[0] == logged.index.min()
        assert tokens[-1] == logged.index.max()
        assert losses == pytest.approx(logged[tokens].to_numpy(), abs=UNITS[kind])


def test_smoothing_takes_noise_away_and_leaves_a_falling_end_where_it_is() -> None:
    tokens = np.arange(1000, 2001, 5)
    trend = 3.0 - 0.4 * np.log(tokens / 1000)
    noisy = trend + 0.05 * np.random.default_rng(0).standard_normal(len(tokens))
    places = thinned(tokens)
    assert smoothed(tokens, trend, places) == pytest.approx(trend[places])
    off = smoothed(tokens, noisy, places) - trend[places]
    assert np.sqrt(np.mean(off**2)) < 0.4 * 0.05
    mean_at_end = noisy[tokens >= (1 - WINDOW) * 2000].mean()
    assert abs(off[-1]) < abs(mean_at_end - trend[-1])


def test_few_rows_are_left_as_they_are() -> None:
    tokens, losses = np.array([10, 100, 1000]), np.array([5.0, 4.0, 3.0])
    assert smoothed(tokens, losses, np.arange(3)).tolist() == losses.tolist()


def test_schedule_keeps_its_corners() -> None:
    x = np.arange(101.0)
    y = np.interp(x, [0, 10, 80, 100], [0, 1, 1, 0])
    assert corners(x, y, 0.005).tolist() == [0, 10, 80, 100]
    bent = np.cos(x / 100)
    kept = corners(x, bent, 0.005)
    assert np.abs(np.interp(x, x[kept], bent[kept]) - bent).max() <= 0.005


def test_losses_on_the_evaluation_text_come_first_if_they_are_many(sweep: Sweep, found: Json) -> None:
    assert np.median([len(row["evaluated"]) - 1 for row in found["rows"] if row["trunk"]]) < ENOUGH
    assert found["first"] == "smoothed"
    often = curve_data(
        sweep.finished, sweep.points, sweep.curves.assign(eval_loss=sweep.curves["train_loss"])
    )
    assert often["first"] == "evaluated"
    # Training on other text ends elsewhere.
    apart = sweep.curves.assign(train_loss=0.8 * sweep.curves["train_loss"])
    assert curve_data(sweep.finished, sweep.points, apart)["first"] == "evaluated"
    unevaluated = curve_data(sweep.finished, sweep.points, sweep.curves.assign(eval_loss=np.nan))
    assert unevaluated["kinds"] == ["raw", "smoothed"]
    assert unevaluated["first"] == "smoothed"


def test_forecast_ends_are_those_of_the_finished_points(sweep: Sweep) -> None:
    places = {index: 100 + place for place, index in enumerate(sweep.finished.index)}
    found = forecast_ends(sweep.finished, sweep.tried, places)
    assert found
    tried = {(each.forecast.end, each.share): each.forecast for each in sweep.tried}
    points = dict(zip(places.values(), sweep.finished.to_dict("records"), strict=True))
    for end in found:
        point = points[end["id"]]
        forecast = tried[point["point_id"], end["share"]]
        assert (end["loss"], (end["low"], end["high"])) == (forecast.loss, forecast.interval)
        assert (end["d"], end["rung"]) == (point["n_tokens"], point["rung"])
    unsaid = [replace(each, forecast=replace(each.forecast, loss=None)) for each in sweep.tried]
    assert forecast_ends(sweep.finished, unsaid, places) == []
