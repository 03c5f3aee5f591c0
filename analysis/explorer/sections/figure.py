"""A live figure of a section: its charts, their rows, choices above it, and the card of each of its points.

A row has a group `g`, the place of its entry in the legend. Points belong to marks `told_DATA`: the page
shows their card, and lights the row of the table that `id` names (analysis/report/script/sections.js). A
point of several runs also has them all as `runs`; selecting it selects them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from matplotlib.colors import to_hex

from analysis.explorer.page import Explored, rounded
from analysis.explorer.vega import FAINT, HEIGHT, Axis, Covered, Json, Series, chart, formula, kept, shown_if
from analysis.plots.style import BLACK, GREY, rung_styles

NOT_PICKED = "(picked.length && isValid(datum.id) && !among(datum, picked))"
DIGITS = 5  # significant ones of a number in a row
SHOWN = kept("shown[datum.g]")
# A star of five points, as wide as a circle of the same size.
STAR = "M0,-1L.225,-.309L.951,-.309L.363,.118L.588,.809L0,.382L-.588,.809L-.363,.118L-.951,-.309L-.225,-.309Z"


@dataclass(frozen=True)
class Option:
    """One of the things that a list lets people choose.

    Attributes:
        value: in the address of the view.
        label: in the list.
        note: said below the list when it is chosen.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Choice:
    """A list above a figure; the first option is chosen at first.

    Attributes:
        name: in the address of the view, and of the signal of charts that follow it.
        label: beside the list.
        options: what it offers.
    """

    name: str
    label: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Told:
    """A line of the card of a point.

    Attributes:
        label: what it says.
        value: field of the row; empty if the interval says all.
        spell: function of the page that spells it.
        low, high: fields of its interval.
    """

    label: str
    value: str
    spell: str = "decimals"
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Card:
    """What the page says of a point.

    Attributes:
        lines: its lines; one without a value is left out.
        title: field of the row that names the point besides its group.
        names: of the groups; by default those in the legend.
    """

    lines: tuple[Told, ...]
    title: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveFigure:
    """Content of a live figure.

    Attributes:
        charts: specifications without rows.
        rows: rows of each data set that the charts name.
        choices: lists above the figure.
    """

    charts: tuple[Json, ...]
    rows: Mapping[str, Sequence[Json]]
    choices: tuple[Choice, ...] = ()


def with_figures(found: Explored, figures: Mapping[str, LiveFigure]) -> Explored:
    """Return the content of a page with the figures of its sections.

    Args:
        found: content of the page.
        figures: {name of the static figure: the live one}.
    """
    charts = {name: rounded(list(each.charts)) for name, each in figures.items()}
    rows = {name: columns(each) for figure in figures.values() for name, each in figure.rows.items()}
    choices = {
        name: [asdict(choice) for choice in each.choices] for name, each in figures.items() if each.choices
    }
    data = found.data | {"charts": found.data["charts"] | charts, "rows": rows, "choices": choices}
    return replace(found, data=data)


def columns(rows: Sequence[Json]) -> dict[str, list[Any]]:
    """Return rows as columns, whose names stand once; numbers have few digits, those not finite are null."""
    return {name: [_short(row.get(name)) for row in rows] for name in (rows[0] if rows else ())}


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def by_size(prefix: str, names: Sequence[str], mark: str = "point", **more: Any) -> tuple[Series, ...]:
    """Return a group a size, smallest first, in the colours of the static figures."""
    styles = rung_styles([str(place) for place in range(len(names))])
    shades = [to_hex((r, g, b)) for (r, g, b, *_), _ in styles.values()]
    return tuple(
        Series(f"{prefix}{place}", name, shades[place], mark, **more) for place, name in enumerate(names)
    )


def section_chart(
    description: str,
    axes: tuple[Axis, Axis],
    data: Sequence[Json],
    domains: tuple[Sequence[Covered], Sequence[Covered]],
    marks: Sequence[Json],
    *,
    groups: Sequence[Series],
    series: Sequence[Series] = (),
    card: Card,
    choices: Sequence[Choice] = (),
    when: Mapping[str, Sequence[str]] | None = None,
    colours: tuple[Sequence[str], Sequence[str]] = ((), ()),
    shades: Sequence[str] = (),
    height: int = HEIGHT,
) -> Json:
    """Return the specification of a chart of a section.

    Args:
        description: for people who hear the page.
        axes: its axes x and y.
        data: its data sets.
        domains: for x and for y what the axis covers, as for `chart`.
        marks: what is drawn, in order.
        groups: entries of the legend, by the field `g` of the rows.
        series: further entries.
        card: what is said of each point.
        choices: lists whose signals the chart reads.
        when: the options with which the chart is shown; always without them.
        colours: names of the rungs and the colour of each, if the chart shows the runs of the page.
        shades: colours by the field `g`, if groups have no entry in the legend.
        height: of the chart, pixels.
    """
    shown = ", ".join(f"show_{each.name}" for each in groups)
    signals: list[Json] = [{"name": "shown", "update": f"[{shown}]"}]
    signals += [{"name": each.name, "value": each.options[0].value} for each in choices]
    entries = (*groups, *series)
    made = chart(
        description,
        *axes,
        data,
        domains,
        marks,
        colours=colours,
        series=entries,
        signals=signals,
        height=height,
    )
    by_group = list(shades) or [each.colour for each in groups]
    scale = {"domain": list(range(len(by_group))), "range": by_group}
    made["scales"].append({"name": "group", "type": "ordinal", **scale})
    made["usermeta"] |= {
        "card": asdict(card) | {"names": card.names or tuple(each.label for each in groups)},
        "choices": [each.name for each in choices],
        "when": dict(when or {}),
    }
    return made


def having(name: str, source: str, *fields: str) -> Json:
    """Return the data set of those rows of another one that have all the fields."""
    return {
        "name": name,
        "source": source,
        "transform": [kept(" && ".join(f"isValid(datum.{each})" for each in fields))],
    }


def drawn(sources: Sequence[str], fields: Sequence[str], name: str = "drawn") -> Json:
    """Return the data set of all rows with their `lowest` and `highest` value of some fields.

    An axis covers these two: it needs no field that has a value in some row.

    Args:
        sources: data sets.
        fields: those of a row that one axis shows; a row without any is left out.
        name: of the data set.
    """

    def end(most: str, far: str) -> str:
        values = ", ".join(f"isValid(datum.{each}) ? datum.{each} : {far}" for each in fields)
        return f"{most}({values})"

    return {
        "name": name,
        "source": list(sources),
        "transform": [
            kept(" || ".join(f"isValid(datum.{each})" for each in fields)),
            formula("lowest", end("min", "MAX_VALUE")),
            formula("highest", end("max", "-MAX_VALUE")),
        ],
    }


def covered(x: str) -> tuple[list[Covered], list[Covered]]:
    """Return the domains of a chart of the data set `drawn`, whose x is one field."""
    return [("drawn", x)], [("drawn", "lowest"), ("drawn", "highest")]


GROUP_COLOUR = {"scale": "group", "field": "g"}


def dots(
    data: str,
    x: str,
    y: str,
    *,
    shape: str = "circle",
    size: int = 46,
    hollow: bool = False,
    series: str | None = None,
    colour: Json | None = None,
) -> list[Json]:
    """Return points, and around each a transparent one with a card.

    Args:
        data: data set; every row has both fields.
        x, y: fields.
        shape: of the symbol.
        size: its area, square pixels.
        hollow: whether it is drawn as a line.
        series: entry of the legend that hides it, besides its group.
        colour: channel of its colour; that of its group by default.
    """
    drawn = colour or GROUP_COLOUR
    there = f"show_{series}" if series else "true"
    place = {"x": {"scale": "x", "field": x}, "y": {"scale": "y", "field": y}}
    look = {"fill": {"value": "transparent"}, "stroke": drawn, "strokeWidth": {"value": 1.6}}
    full = {"fill": drawn, "stroke": {"value": "white"}, "strokeWidth": {"value": 0.6}}
    seen = place | (look if hollow else full)
    seen |= {
        "shape": {"value": shape},
        "size": {"signal": f"!({there}) ? 0 : isValid(lit) && among(datum, [lit]) ? {3 * size} : {size}"},
        "opacity": {"signal": f"{NOT_PICKED} ? {FAINT} : 1"},
    }
    hit = place | {
        "shape": {"value": "circle"},
        "size": {"signal": f"{there} ? 260 : 0"},
        "fill": {"value": "transparent"},
        "stroke": {"value": "transparent"},
        "strokeWidth": {"value": 2},
        "cursor": {"value": "pointer"},
    }
    ringed = {"update": hit, "hover": {"stroke": {"value": BLACK}}}
    return [
        {"type": "symbol", "name": f"dots_{data}", "from": {"data": data}, "clip": True, "interactive": False,
         "encode": {"update": seen}},
        {"type": "symbol", "name": f"told_{data}", "from": {"data": data}, "clip": True, "encode": ringed},
    ]  # fmt: skip


def bars(
    data: str, at: str, low: str, high: str, *, across: bool = False, width: float = 1.2, series: str = ""
) -> Json:
    """Return an interval of each row, upright or across.

    Args:
        data: data set; every row has the fields.
        at: field of the other axis.
        low, high: fields of its ends.
        across: whether it lies along x.
        width: of the line, pixels.
        series: entry of the legend that hides it, besides its group.
    """
    one, other = ("y", "x") if across else ("x", "y")
    ends = {other: {"scale": other, "field": low}, f"{other}2": {"scale": other, "field": high}}
    return {
        "type": "rule",
        "name": f"bars_{data}",
        "from": {"data": data},
        "clip": True,
        "interactive": False,
        "encode": {
            "update": {
                one: {"scale": one, "field": at},
                **ends,
                "stroke": GROUP_COLOUR,
                "strokeWidth": {"value": width},
                "opacity": {
                    "signal": f"{f'!show_{series} ? 0 : ' if series else ''}{NOT_PICKED} ? {FAINT} : 0.7"
                },
            }
        },
    }


def group_lines(
    data: str, x: str, y: str, series: str | None = None, *, opacity: float = 1.0, **more: Any
) -> Json:
    """Return a line through the rows of each group, broken where a row has no value."""
    channels = {
        "x": {"scale": "x", "field": x},
        "y": {"scale": "y", "field": y},
        "stroke": GROUP_COLOUR,
        "strokeWidth": {"value": 1.8},
        "defined": {"signal": f"isValid(datum.{y})"},
        "opacity": shown_if(series, opacity) if series else {"value": opacity},
        **more,
    }
    return _by_group(data, {"type": "line", "encode": {"update": channels}})


def group_bands(data: str, x: str, low: str, high: str, series: str) -> Json:
    """Return an area between two fields of each group."""
    channels = {
        "x": {"scale": "x", "field": x},
        "y": {"scale": "y", "field": low},
        "y2": {"scale": "y", "field": high},
        "fill": GROUP_COLOUR,
        "defined": {"signal": f"isValid(datum.{low}) && isValid(datum.{high})"},
        "opacity": shown_if(series, 0.16),
    }
    return _by_group(data, {"type": "area", "encode": {"update": channels}})


def _by_group(data: str, mark: Json) -> Json:
    inside = {"width": {"signal": "width"}, "height": {"signal": "height"}}
    each = mark | {"from": {"data": "one"}, "interactive": False, "aria": False}
    return {
        "type": "group",
        "from": {"facet": {"name": "one", "data": data, "groupby": "g"}},
        "clip": True,
        "interactive": False,
        "encode": {"update": inside},
        "marks": [each],
    }


def level(value: float, colour: str = GREY) -> Json:
    """Return a line across at one value of y."""
    ends = {"x": {"value": 0}, "x2": {"signal": "width"}, "y": {"scale": "y", "value": value}}
    return {"type": "rule", "clip": True, "encode": {"update": ends | {"stroke": {"value": colour}}}}


def levels(data: str, y: str, series: str) -> Json:
    """Return a dashed line across at a field that every row has."""
    ends = {"x": {"value": 0}, "x2": {"signal": "width"}, "y": {"scale": "y", "field": y}}
    dashed = {"stroke": GROUP_COLOUR, "strokeDash": {"value": [5, 4]}}
    return {
        "type": "rule",
        "name": series,
        "from": {"data": data},
        "clip": True,
        "interactive": False,
        "encode": {"update": ends | dashed | {"opacity": shown_if(series, 0.8)}},
    }
