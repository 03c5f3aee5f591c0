"""Live figures of sections: their specifications name what their rows hold, and rows say what records say."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from analysis.explorer.page import NOTHING
from analysis.explorer.sections.figure import LiveFigure, columns, with_figures
from analysis.explorer.vega import SIGNALS
from analysis.learning_rate.study import rate_runs
from analysis.records.emergence import Axis
from tests.analysis.explorer.test_charts import FUNCTIONS, RUN, expressions, parts
from tests.analysis.report.section_pages import SWEEPS, figures_of, places_of, replications, sweep_of

FIGURES = [(name, figure) for name in (*SWEEPS, "replications") for figure in figures_of(name)]
CHARTS = [(name, figure, i) for name, figure in FIGURES for i in range(len(figures_of(name)[figure].charts))]
OF_PAGE = FUNCTIONS | {"figures", "share", "times"}


def rows(figure: LiveFigure, name: str) -> list[dict[str, Any]]:
    return list(figure.rows[name])


def named(task: Any) -> str:
    return str(task.name)


@pytest.mark.parametrize(("name", "figure", "i"), CHARTS)
def test_a_chart_is_plain_json_and_names_what_its_rows_hold(name: str, figure: str, i: int) -> None:
    found = figures_of(name)[figure]
    chart = json.loads(json.dumps(found.charts[i]))
    known: dict[str, set[str]] = {}
    for data in chart["data"]:
        sources = data.get("source", [])
        sources = [sources] if isinstance(sources, str) else sources
        fields = set().union(*(known[source] for source in sources)) if sources else set()
        if data["name"] == "runs":
            fields = set(RUN)
        elif not sources:
            assert data["name"] in found.rows
            fields = {field for row in found.rows[data["name"]] for field in row}
        for transform in data["transform"]:
            assert set(re.findall(r"datum\.(\w+)", transform.get("expr", ""))) <= fields, data["name"]
            fields |= {transform["as"]} if "as" in transform else set()
        known[data["name"]] = fields
    for scale in chart["scales"]:
        for field in scale["domain"].get("fields", ()) if isinstance(scale["domain"], dict) else ():
            assert "signal" in field or field["field"] in known[field["data"]]
    for mark in chart["marks"]:
        source = mark.get("from", {})
        source = source.get("facet", source).get("data")
        used = {part["field"] for part in parts(mark) if isinstance(part, dict) and "field" in part}
        used |= set(re.findall(r"datum\.(\w+)", json.dumps(mark)))
        # Points of replications are no rows of a table.
        assert used - {"id"} <= (known[source] if source else set()), mark.get("name")


@pytest.mark.parametrize(("name", "figure", "i"), CHARTS)
def test_every_signal_and_function_of_a_chart_exists(name: str, figure: str, i: int) -> None:
    chart = figures_of(name)[figure].charts[i]
    signals = {signal["name"] for signal in chart["signals"]}
    assert set(SIGNALS) <= signals
    assert len(signals) == len(chart["signals"])
    made = {mark["name"] for mark in chart["marks"] if "name" in mark}
    sets = {data["name"] for data in chart["data"]}
    # Vega gives every named mark a data set of that name.
    assert not made & sets
    assert len(made) == sum("name" in mark for mark in chart["marks"])
    known = signals | {"datum", "height", "width", "null", "true", "x_log", "y_log", "MAX_VALUE"}
    for text in expressions(chart):
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
        called = set(re.findall(r"(\w+)\(", bare))
        assert called <= OF_PAGE, text
        words = set(re.findall(r"(?<![\w.])[a-zA-Z_]\w*", bare)) - called
        assert words <= known, (text, words - known)


@pytest.mark.parametrize(("name", "figure"), FIGURES)
def test_every_option_shows_charts_with_entries_in_the_legend(name: str, figure: str) -> None:
    found = figures_of(name)[figure]
    options = {choice.name: [option.value for option in choice.options] for choice in found.choices}
    for chart in found.charts:
        told = chart["usermeta"]
        shows = [*told["when"].items(), *(pair for each in told["series"] for pair in each["when"].items())]
        assert all(set(values) <= set(options[choice]) for choice, values in shows)
        assert set(told["choices"]) <= set(options)
        groups = len(next(scale for scale in chart["scales"] if scale["name"] == "group")["range"])
        assert len(told["card"]["names"]) == groups
        for data in chart["data"]:
            for row in found.rows.get(data["name"], ()):
                assert 0 <= row.get("g", 0) < groups
    if "metric" not in options:
        for choice, values in options.items():
            for value in values:
                assert any(value in chart["usermeta"]["when"].get(choice, [value]) for chart in found.charts)


def test_rows_become_columns_of_few_digits() -> None:
    found = columns([{"g": 0, "x": 1.23456789, "name": "a"}, {"g": 1, "x": math.nan, "name": "b"}])
    assert found == {"g": [0, 1], "x": [1.2346, None], "name": ["a", "b"]}
    assert columns([]) == {}
    data = with_figures(NOTHING, figures_of("compare")).data
    assert json.loads(json.dumps(data, allow_nan=False))["rows"]["arms"]["g"]
    assert NOTHING.data["charts"] == {}


def test_tasks_say_both_metrics_and_the_level_of_guessing() -> None:
    found = sweep_of("emergence").emergence
    assert found
    figure = figures_of("emergence")["emergence_overview"]
    names = figure.charts[0]["usermeta"]["card"]["names"]
    axes = [each.axis for each in found.axes]
    for task in found.tasks:
        place = axes.index(task.axis)
        own = [row for row in rows(figure, "skills") if row["a"] == place and names[row["g"]] == named(task)]
        assert [row["at"] for row in own] == [size.at for size in task.sizes]
        assert [row["nll"] for row in own] == [size.nll for size in task.sizes]
        assert [row["exact"] for row in own] == [size.exact for size in task.sizes]
        assert {row["chance"] for row in own} == {task.chance}
        assert [row["product"] for row in own] == [size.product for size in task.sizes]
    reverse = [chart["scales"][0].get("reverse", False) for chart in figure.charts]
    along = [chart["usermeta"]["when"]["along"] == [Axis.LOSS] for chart in figure.charts]
    assert reverse == along
    # Without exact match there is the smooth metric alone.
    exact = next(chart for chart in figure.charts if "exact" in chart["usermeta"]["when"]["metric"])
    assert "text" not in exact["usermeta"]["when"]["task"]
    assert "copy" in exact["usermeta"]["when"]["task"]


def test_a_jump_is_shown_between_its_ends() -> None:
    found = sweep_of("emergence").emergence
    assert found
    figure = figures_of("emergence")["emergence_overview"]
    names = figure.charts[0]["usermeta"]["card"]["names"]
    axes = [each.axis for each in found.axes]
    marked = {
        (axes[row["a"]], names[row["g"]]) for row in rows(figure, "skill_levels") if row["start"] is not None
    }
    jumps = {(task.axis, task.name) for task in found.tasks if task.verdict.is_jump}
    assert marked == {(axis, name) for axis, name in jumps if axis != Axis.LOSS}
    assert all(row["start"] < row["end"] for row in rows(figure, "skill_levels") if row["start"] is not None)


def test_rates_are_those_of_the_runs_and_parabolas_meet_the_minimum() -> None:
    sweep = sweep_of("lr")
    assert sweep.learning_rate
    points = sweep.points
    runs = rate_runs(points)
    for group in sweep.learning_rate.groups:
        figure = figures_of("lr")[f"learning_rate_{group.group}"]
        name = f"rates_{group.group}"
        for place, optimum in enumerate(sorted(group.optima, key=lambda row: row.d_model)):
            own = [row for row in rows(figure, f"{name}_runs") if row["g"] == place]
            by_rate: dict[float, list[float]] = {}
            for row in own:
                by_rate.setdefault(row["rate"], []).append(math.log(row["loss"]))
            means = [math.exp(float(np.mean(by_rate[rate]))) for rate in sorted(by_rate)]
            assert sorted(by_rate) == list(optimum.rates)
            assert means == pytest.approx(optimum.losses)
            (best,) = [row for row in rows(figure, f"{name}_best") if row["g"] == place]
            assert (best["best"], best["best_low"], best["best_high"]) == (
                optimum.rate_opt,
                *(optimum.rate_interval or (None, None)),
            )
            curve = [row for row in rows(figure, f"{name}_parabolas") if row["g"] == place]
            lowest = min(curve, key=lambda row: row["excess"])
            assert lowest["excess"] == pytest.approx(0, abs=0.02)
            assert lowest["rate"] == pytest.approx(optimum.rate_opt, rel=0.1)
        own_runs = runs[runs.group == group.group]
        assert len(own_runs) == len(rows(figure, f"{name}_runs"))
        assert set(points.loc[own_runs.point, group.column]) == set(own_runs.rate)


def test_arms_say_every_multiplier_with_its_interval() -> None:
    comparisons = sweep_of("compare").fits.comparisons
    assert comparisons
    figure = figures_of("compare")["arms"]
    found = [
        (row["c"], row["compute"], row["compute_low"], row["tokens_high"], row["params"], row["better"])
        for row in rows(figure, "arms")
    ]
    wanted = [
        (row.flops, row.compute, row.compute_interval[0], row.tokens_interval[1], row.params, row.p_better)
        for each in comparisons
        for row in each.rows
    ]
    assert found == wanted


def test_forecasts_stand_beside_measured_losses() -> None:
    sweep = sweep_of("chinchilla")
    ((forecast, score),) = sweep.scored
    assert score
    figure = figures_of("chinchilla")["forecast"]
    sealed = [row for row in rows(figure, "forecast_1") if row["g"] == 0]
    losses = {cell.key: cell for cell in score.cells}
    points = {place: index for index, place in places_of(sweep).items()}
    for row, cell in zip(sealed, forecast.cells, strict=True):
        truth = losses[cell.key]
        assert (row["predicted"], row["low"], row["high"]) == (cell.predicted, cell.low, cell.high)
        assert row["loss"] == truth.loss
        assert row["error"] == pytest.approx(truth.error_percent)
        assert row["inside"] == ("yes" if truth.inside else "no")
        point = sweep.points.loc[points[row["id"]]]
        assert (point["rung"], point["n_tokens"], point["role"]) == (cell.rung, cell.n_tokens, "holdout")
    assert len(rows(figure, "forecast_1")) == len(forecast.cells) * (1 + len(forecast.losers))
    on = [each["on"] for each in figure.charts[0]["usermeta"]["series"] if each["name"].startswith("law")]
    assert on == [True] + [False] * len(forecast.losers)


def test_ends_say_their_errors_in_per_cent() -> None:
    sweep = sweep_of("chinchilla")
    found = rows(figures_of("chinchilla")["ends"], "ends")
    assert len(found) == sum(each.forecast.loss is not None for each in sweep.tried)
    points = sweep.points.set_index("point_id")
    for row in found:
        same = [
            each
            for each in sweep.tried
            if (each.share, each.forecast.run, each.loss) == (row["share"], row["run"], row["loss"])
        ]
        assert 100 * same[0].error == pytest.approx(row["error"])
        assert row["error_low"] < row["error_high"]
        assert row["rung"] == points.loc[same[0].forecast.end, "rung"]


def test_replications_say_their_intervals() -> None:
    found = replications()
    cells = rows(figures_of("replications")["intervals"], "cells")
    assert len(cells) == sum(len(each.cells) for each in found.replications)
    for row in cells:
        cell = found.replications[row["at"] - 1].cells[row["k"]]
        assert (row["low"], row["high"], row["loss"]) == (cell.low, cell.high, cell.loss)
        assert (row["low_off"] <= row["loss_off"] <= row["high_off"]) == (row["g"] == 0) == cell.inside
    notes = [option.note for option in figures_of("replications")["intervals"].choices[0].options]
    inside = sum(cell.inside for each in found.replications for cell in each.cells)
    assert sum(int(note.split()[0]) for note in notes) == inside
    estimates = rows(figures_of("replications")["parameters"], "estimates")
    for row in estimates:
        if row["low"] is not None and row["mean"] is not None:
            assert (row["g"] == 0) == (row["low"] <= row["mean"] <= row["high"])
