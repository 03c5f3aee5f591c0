"""Specifications of charts: every field, signal and function that they name exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from analysis.explorer.charts import (
    overview_chart,
    residual_charts,
    size_chart,
    tokens_chart,
)
from analysis.explorer.curve_charts import Known, curves_chart, rates_chart
from analysis.explorer.page import FIELDS
from analysis.explorer.surface import Reach, contours_chart
from analysis.explorer.vega import SIGNALS, UNITS

RUNGS = ["d16", "d32"]
CHARTS = {
    "overview": overview_chart(RUNGS, with_law=True, largest=1e13),
    "runs alone": overview_chart(RUNGS, with_law=False, largest=1e13),
    "size": size_chart(RUNGS, ["best size N*, all", "best size N*, body"], largest=1e13),
    "tokens": tokens_chart(RUNGS, largest=1e13),
    "curves": curves_chart(RUNGS, "d", Known(1e7, 1e13, 2.0), others=True),
    "compute": curves_chart(RUNGS, "c", None, others=False),
    "rates": rates_chart(RUNGS, Known(1e7, 1e13, 2.0), others=True),
    "contours": contours_chart(
        RUNGS, ["all parameters N", "body"], Reach(((1e4, 1e6), (1e3, 1e5)), (1e5, 1e7), 1e13, (9, 15))
    ),
    **{f"residuals {i}": chart for i, chart in enumerate(residual_charts(RUNGS, ["parameters N"], 0.004))},
}
# Fields of the rows that the page gives to each data set.
CURVE = {"key", "run", "rung", "trunk", "seen", "flops_per_token", "tokens", "losses", "rate_tokens", "rates"}
RUN = {"id", "run", "rung", "seed", "role", "n", "d", "c", "loss", "sem", "residual"}
ROWS = {
    "runs": RUN,
    "frontier": {"law", "n_rule", "d_rule", *FIELDS},
    "curves": CURVE,
    "others": CURVE,
    "forecast": {"id", "rung", "share", "d", "c", "loss", "low", "high"},
    "hull": {"c", "loss"},
    "contours": set(),
    "costs": {"n", "per_token"},
}
FUNCTIONS = {"ticks", "si", "flops", "counted", "format", "domain", "indexof", "isValid", "exp", "max", "min"}
FUNCTIONS |= {
    "pow",
    "sequence",
    "length",
    "scale",
    "surface_of",
    "n_of",
    "d_of",
    "end_of",
    "turn_of",
    "among",
    "loss_at",
    "cost_of",
}


def parts(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(part)


def expressions(chart: dict[str, Any]) -> set[str]:
    found = (part for part in parts(chart) if isinstance(part, dict))
    return {text for part in found for key in ("signal", "expr") if isinstance(text := part.get(key), str)}


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_plain_json_without_rows(name: str) -> None:
    chart = CHARTS[name]
    assert json.loads(json.dumps(chart)) == chart
    assert all("values" not in data for data in chart["data"])
    assert {data["name"] for data in chart["data"] if "source" not in data} <= set(ROWS)


@pytest.mark.parametrize("name", CHARTS)
def test_marks_and_data_sets_have_names_of_their_own(name: str) -> None:
    # Vega keeps both in one place.
    chart = CHARTS[name]
    names = [part["name"] for part in (*chart["data"], *chart["marks"]) if "name" in part]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", CHARTS)
def test_every_field_is_one_of_the_rows_or_made_from_them(name: str) -> None:
    chart = CHARTS[name]
    known: dict[str, set[str]] = {}
    for data in chart["data"]:
        fields = set(known[data["source"]] if "source" in data else ROWS[data["name"]])
        for transform in data["transform"]:
            named = [*transform.get("fields", ()), *transform.get("groupby", ())]
            named += [transform["field"]] if "field" in transform else []
            named += transform.get("sort", {}).get("field", [])
            used = set(re.findall(r"datum\.(\w+)", transform.get("expr", "")))
            used |= {field.partition(".")[0] for field in named}
            assert used <= fields, (data["name"], used - fields)
            made = transform.get("as", ())
            fields |= {made} if isinstance(made, str) else set(made)
            fields |= {transform["index"]} if "index" in transform else set()
        known[data["name"]] = fields
    for scale in chart["scales"]:
        for field in scale["domain"].get("fields", ()) if isinstance(scale["domain"], dict) else ():
            assert "signal" in field or field["field"] in known[field["data"]]
    for mark in chart["marks"]:
        source = mark.get("from", {})
        rows = known.get(source.get("data") or source.get("facet", {}).get("data"), set())
        for part in parts(mark):
            if isinstance(part, dict) and isinstance(part.get("field"), str):
                assert part["field"] in rows
                assert part.get("scale") in {scale["name"] for scale in chart["scales"]}


@pytest.mark.parametrize("name", CHARTS)
def test_every_expression_uses_known_signals_and_functions(name: str) -> None:
    chart = CHARTS[name]
    signals = {signal["name"] for signal in chart["signals"]} | {"width", "height", "datum", "x_log", "y_log"}
    assert set(SIGNALS) < signals
    for text in expressions(chart):
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|\{[^}]*\}", "", text)
        names = set(re.findall(r"(?<![\w.])([a-zA-Z_]\w*)", bare)) - {"null", "true", "false"}
        assert names <= signals | FUNCTIONS, (text, names - signals - FUNCTIONS)


def test_each_entry_of_the_legend_has_its_signal() -> None:
    for chart in CHARTS.values():
        signals = {signal["name"] for signal in chart["signals"]}
        assert {f"show_{each['name']}" for each in chart["usermeta"]["series"]} <= signals
        text = json.dumps(chart["marks"])
        assert all(f"show_{each['name']}" in text for each in chart["usermeta"]["series"])


def test_sizes_keep_the_colours_of_the_static_figures() -> None:
    (colour,) = (scale for scale in CHARTS["overview"]["scales"] if scale["name"] == "colour")
    assert colour["domain"] == RUNGS
    assert len(set(colour["range"])) == len(RUNGS)
    assert all(re.fullmatch("#[0-9a-f]{6}", each) for each in colour["range"])


def test_loss_has_a_title_in_every_unit() -> None:
    title = CHARTS["overview"]["axes"][1]["title"]["signal"]
    assert all(words in title for words in UNITS.values())
