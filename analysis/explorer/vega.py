"""Pieces of Vega specifications: axes, scales, marks and signals that all charts of a page share.

A page calls functions that Vega lacks (analysis/report/script). `ticks(low, high, log)` returns round
numbers. `si(value)` and `flops(value)` spell a count and a compute as the rest of the page does.
`counted(n, count)` returns a size under another way to count.

References: Satyanarayan et al. 2016, "Reactive Vega", IEEE TVCG 22; https://vega.github.io/vega/docs/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.plots.style import BLACK, GREY, VERMILION

Json = dict[str, Any]
Covered = tuple[str, str] | str
SCHEMA = "https://vega.github.io/schema/vega/v6.json"
FONT = "DejaVu Sans, Verdana, sans-serif"
HEIGHT = 300  # pixels; the width is that of the page
# What the page sets. `law` and `count` are places of the law and of the way to count N; `hidden` are rungs
# not shown. `forecast` is the share of training from which ends are forecast. `lit` is the point under the
# pointer. `picked` are selected ones, `picked_runs` their runs, `unseen` those that the law did not see. `at`
# is the answer at the chosen budget, `at.n_first` its size under the first count; `need` is the cheapest run
# of its loss with inference.
SIGNALS: dict[str, Any] = {
    "law": 0,
    "unit": "nats",
    "bits_per_nat": 1,
    "count": 0,
    "hidden": [],
    "lit": None,
    "picked": [],
    "picked_runs": [],
    "unseen": [],
    "forecast": None,
    "at": None,
    "need": None,
}
OF_ALL = ""  # the law of what is said over all laws
FAINT = 0.12  # opacity of points that are not selected while others are
UNITS = {"nats": "loss, nats per token", "bits": "loss, bits per byte", "perplexity": "perplexity"}


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        title: text, or an expression if `computed`.
        spelled: function of the page that spells its numbers; None for plain ones.
        log: whether it begins logarithmic.
        computed: whether the title is an expression.
        zero: whether a linear axis reaches 0.
    """

    title: str
    spelled: str | None = None
    log: bool = True
    computed: bool = False
    zero: bool = False


@dataclass(frozen=True)
class Series:
    """A part of a chart that the legend shows and hides, named by its signal `show_NAME`.

    Attributes:
        name: of the signal.
        label: in the legend.
        colour: of the swatch.
        mark: `line`, `dashes`, `dots`, `band` or `point`.
        on: whether it is shown at first.
        when: the options of lists with which the legend names it; always without them.
        law: the law that it is of, and OF_ALL of all laws together: the page's choice of a law shows it and
            hides the other ones. None if it does not depend on that choice.
    """

    name: str
    label: str
    colour: str
    mark: str
    on: bool = True
    when: Mapping[str, Sequence[str]] = field(default_factory=dict)
    law: str | None = None


LOSS_TITLE = Axis(f"{UNITS!r}[unit]".replace("'", '"'), computed=True)


def in_unit(loss: str) -> str:
    """Return the expression of a loss, nats per token, in the unit that the page shows."""
    return f"(unit === 'bits' ? {loss} * bits_per_nat : unit === 'perplexity' ? exp({loss}) : {loss})"


def chart(
    description: str,
    x: Axis,
    y: Axis,
    data: Sequence[Json],
    domains: tuple[Sequence[Covered], Sequence[Covered]],
    marks: Sequence[Json],
    *,
    colours: tuple[Sequence[str], Sequence[str]] = ((), ()),
    series: Sequence[Series] = (),
    signals: Sequence[Json] = (),
    height: int = HEIGHT,
) -> Json:
    """Return the specification of a chart with two axes, without rows.

    Args:
        description: for people who hear the page.
        x, y: its axes.
        data: data sets; the page gives rows to those that have no source.
        domains: for x and for y what the axis covers: (data set, field) pairs, and expressions of lists.
        marks: what is drawn, in order.
        colours: names of the rungs and the colour of each.
        series: entries of the legend besides the rungs.
        signals: of this chart alone.
        height: of the chart, pixels.
    """
    shared = [{"name": name, "value": value} for name, value in SIGNALS.items()]
    shown = [{"name": f"show_{each.name}", "value": each.on} for each in series]
    zoomed: list[Json] = [{"name": f"{axis}_zoom", "value": None} for axis in "xy"]
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": 480,
        "height": height,
        "padding": 4,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": "white",
        "config": {"axis": {"labelFont": FONT, "titleFont": FONT}, "text": {"font": FONT}},
        "signals": [*shared, *shown, *zoomed, *signals],
        "data": list(data),
        "scales": [
            _scale("x", x, domains[0]),
            _scale("y", y, domains[1]),
            {"name": "colour", "type": "ordinal", "domain": list(colours[0]), "range": list(colours[1])},
        ],
        "axes": [_axis("x", x), _axis("y", y)],
        # The chart as a whole has its description, and the table of points its numbers.
        "marks": [mark | {"aria": False} for mark in marks],
        "usermeta": {
            "series": [vars(each) for each in series],
            "log": [name for name, axis in (("x", x), ("y", y)) if axis.log],
        },
    }


def _scale(name: str, axis: Axis, covered: Sequence[Covered]) -> Json:
    fields = [
        {"signal": each} if isinstance(each, str) else {"data": each[0], "field": each[1]} for each in covered
    ]
    return {
        "name": name,
        "type": "log" if axis.log else "linear",
        "range": "width" if name == "x" else "height",
        "domainRaw": {"signal": f"{name}_zoom"},
        "domain": {"fields": fields},
        "padding": 14,
        "zero": axis.zero,
        "nice": False,
        "clamp": False,
    }


def _axis(name: str, axis: Axis) -> Json:
    ends = f"domain('{name}')[0], domain('{name}')[1]"
    spelled = f"{axis.spelled}(datum.value)" if axis.spelled else "format(datum.value, '~r')"
    return {
        "scale": name,
        "orient": "bottom" if name == "x" else "left",
        "title": {"signal": axis.title} if axis.computed else axis.title,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 11,
        "titleColor": BLACK,
        "domainColor": GREY,
        "tickColor": GREY,
        "grid": True,
        "gridColor": "#e5e7eb",
        "labelOverlap": True,
        # Charts above each other have the same left edge.
        "minExtent": 32 if name == "y" else 0,
        "values": {"signal": f"ticks({ends}, {name}_log)"},
        "encode": {"labels": {"update": {"text": {"signal": spelled}}}},
    }


def formula(name: str, expression: str) -> Json:
    """Return the transform that adds a field."""
    return {"type": "formula", "as": name, "expr": expression}


def kept(expression: str) -> Json:
    """Return the transform that keeps the rows for which an expression holds."""
    return {"type": "filter", "expr": expression}


def line(data: str, x: str, y: str, colour: str, series: str, width: float = 2.2, **more: Any) -> Json:
    """Return a line through the rows of a data set; `more` are further channels."""
    return {
        "type": "line",
        "from": {"data": data},
        "clip": True,
        "encode": {
            "update": {
                "x": {"scale": "x", "field": x},
                "y": {"scale": "y", "field": y},
                "stroke": {"value": colour},
                "strokeWidth": {"value": width},
                "opacity": shown_if(series),
                **more,
            }
        },
    }


def band(data: str, x: str, low: str, high: str, colour: str, series: str) -> Json:
    """Return an area between two fields of a data set."""
    return {
        "type": "area",
        "from": {"data": data},
        "clip": True,
        "encode": {
            "update": {
                "x": {"scale": "x", "field": x},
                "y": {"scale": "y", "field": low},
                "y2": {"scale": "y", "field": high},
                "fill": {"value": colour},
                "opacity": shown_if(series, 0.22),
            }
        },
    }


def upright(value: str, colour: str, series: str | None = None, dash: Sequence[int] = (2, 3)) -> Json:
    """Return a vertical line at an expression; none if the expression is null."""
    opacity = shown_if(series) if series else {"signal": f"{value} === null ? 0 : 1"}
    return {
        "type": "rule",
        "clip": True,
        "encode": {
            "update": {
                "x": {"scale": "x", "signal": f"{value} === null ? domain('x')[0] : {value}"},
                "y": {"value": 0},
                "y2": {"signal": "height"},
                "stroke": {"value": colour},
                "strokeWidth": {"value": 1.2},
                "strokeDash": {"value": list(dash)},
                "opacity": opacity,
            }
        },
    }


def across(value: str, colour: str, dash: Sequence[int] = (5, 3)) -> Json:
    """Return a horizontal line at an expression; none if the expression is null."""
    place = {"x": {"value": 0}, "x2": {"signal": "width"}}
    place["y"] = {"scale": "y", "signal": f"{value} === null ? domain('y')[0] : {value}"}
    look = {"stroke": {"value": colour}, "strokeWidth": {"value": 1.2}, "strokeDash": {"value": list(dash)}}
    look["opacity"] = {"signal": f"{value} === null ? 0 : 1"}
    return {"type": "rule", "clip": True, "interactive": False, "encode": {"update": place | look}}


def budget_marks(x: str, y: str, spelled: Callable[[str], str] = str) -> list[Json]:
    """Return the markers of the chosen budget: a diamond with its interval, and a hollow one with inference.

    Args:
        x, y: names of quantities of the answers.
        spelled: turns the expression of y into what the axis shows.
    """
    return [mark for of in ("need", "at") for mark in _budget_mark(of, x, y, spelled)]


def marked(x: str, y: str, spelled: Callable[[str], str] = str) -> tuple[list[Covered], list[Covered]]:
    """Return what the axes cover besides the data, so that the markers of the chosen budget are seen."""
    return [f"[at.{x}, (need || at).{x}]"], [f"[{spelled(f'at.{y}')}, {spelled(f'(need || at).{y}')}]"]


def _budget_mark(of: str, x: str, y: str, spelled: Callable[[str], str]) -> list[Json]:
    here = {"signal": f"{of} ? 1 : 0"}
    place = {"x": {"scale": "x", "signal": f"{of} ? {of}.{x} : domain('x')[0]"}, "opacity": here}

    def height(name: str) -> Json:
        known = f"{of} && isValid({of}.{name})"
        return {"scale": "y", "signal": f"{known} ? {spelled(f'{of}.{name}')} : domain('y')[0]"}

    ends = f"{of} && isValid({of}.{y}_low) && isValid({of}.{y}_high) ? 1 : 0"
    interval = place | {
        "y": height(f"{y}_low"),
        "y2": height(f"{y}_high"),
        "stroke": {"value": VERMILION},
        "strokeWidth": {"value": 3},
        "opacity": {"signal": ends},
    }
    diamond = place | {
        "y": height(y),
        "shape": {"value": "diamond"},
        "size": {"value": 170},
        "fill": {"value": VERMILION if of == "at" else "white"},
        "stroke": {"value": "white" if of == "at" else VERMILION},
        "strokeWidth": {"value": 1 if of == "at" else 2},
    }
    # A run below the marker is still hit.
    drawn = {"clip": True, "interactive": False}
    return [
        drawn | {"type": "rule", "encode": {"update": interval}},
        drawn | {"type": "symbol", "name": "budget" if of == "at" else of, "encode": {"update": diamond}},
    ]


def points(data: str, x: str, y: str) -> list[Json]:
    """Return the runs as symbols, larger under the pointer, and around each a transparent one to be hit."""
    place = {"x": {"scale": "x", "field": x}, "y": {"scale": "y", "field": y}}
    lit, unseen = "lit === datum.id", "indexof(unseen, datum.id) >= 0"
    faint = "picked.length && indexof(picked, datum.id) < 0"
    shown = place | {
        "shape": {"signal": "datum.role === 'holdout' ? 'triangle-up' : 'circle'"},
        "fill": {"scale": "colour", "field": "rung"},
        "stroke": {"signal": f"{lit} || {unseen} ? '{BLACK}' : 'white'"},
        "strokeWidth": {"signal": f"{lit} ? 2 : {unseen} ? 1.6 : 0.6"},
        "size": {"signal": f"({lit} ? 190 : 46) * (datum.role === 'holdout' ? 1.6 : 1)"},
        "opacity": {"signal": f"{lit} ? 0.95 : {faint} ? {FAINT} : isValid(lit) ? 0.55 : 0.95"},
    }
    hit = place | {
        "shape": {"value": "circle"},
        "size": {"value": 260},
        "fill": {"value": "transparent"},
        "cursor": {"value": "pointer"},
    }
    return [
        {"type": "symbol", "name": "dots", "from": {"data": data}, "clip": True, "interactive": False,
         "encode": {"update": shown}},
        {"type": "symbol", "name": "hits", "from": {"data": data}, "clip": True, "encode": {"update": hit}},
    ]  # fmt: skip


def shown_if(series: str, opacity: float = 1.0) -> Json:
    """Return the opacity of a mark that the legend shows and hides."""
    return {"signal": f"show_{series} ? {opacity:g} : 0"}
