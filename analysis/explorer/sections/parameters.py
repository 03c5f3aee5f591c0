"""Live figures of the parameters of a law: the cloud of redrawn exponents, and their profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.explorer.sections.figure import (
    SHOWN,
    Card,
    LiveFigure,
    Told,
    bars,
    dots,
    group_lines,
    having,
    section_chart,
)
from analysis.explorer.vega import Axis, Json, Series, across, shown_if
from analysis.plots.style import BLUE, GREY, ORANGE, SKY, VERMILION
from analysis.plots.uncertainty import AXES, fan
from analysis.records.fit import FitRecord, ProfileRecord

CLOUD_CARD = Card(
    (
        Told("α", "alpha", "figures", "alpha_low", "alpha_high"),
        Told("β", "beta", "figures", "beta_low", "beta_high"),
        Told("β/(α+β)", "share", "figures"),
    )
)
RESAMPLE = Series("resample", "one resample", SKY, "point")
ESTIMATE = Series("estimate", "estimate, with intervals", BLUE, "point")
SAME_SHARE = Series("shares", "other values of β/(α+β)", GREY, "dots")
OWN_SHARE = Series("own", "β/(α+β) as estimated", VERMILION, "line")
PROFILE = Series("profile", "profile", BLUE, "line")
CUT = Series("cut", "cut", VERMILION, "dashes")
INTERVAL = Series("interval", "interval", ORANGE, "band")


def cloud_figure(fit: FitRecord) -> LiveFigure:
    """Return the figure of the bootstrap estimates (α, β) of a fit that has a cloud."""
    here = {name: fit.params[name] for name in ("alpha", "beta")}
    rows: list[Json] = [{"g": 0, "alpha": alpha, "beta": beta} for alpha, beta in fit.cloud or ()]
    rows.append({"g": 1, **here})
    for row in rows:
        row["share"] = row["beta"] / (row["alpha"] + row["beta"])
        for name in here:
            ends = fit.interval.get(name) if row["g"] else None
            row |= {f"{name}_low": ends[0] if ends else None, f"{name}_high": ends[1] if ends else None}
    alpha, beta = (np.array([row[name] for row in rows]) for name in here)
    shares = fan(*(np.array([values.min(), values.max()]) for values in (alpha, beta)))
    estimated = [rows.pop()]
    lines = [{"slope": share / (1 - share), "share": float(share)} for share in shares]
    chart = section_chart(
        "Bootstrap estimates of the exponents α and β, with lines of constant β/(α+β)",
        tuple(Axis(AXES[name], log=False) for name in here),  # type: ignore[arg-type]
        [
            {"name": "cloud", "transform": [SHOWN]},
            {"name": "cloud_estimate", "transform": [SHOWN]},
            having("barred", "cloud_estimate", "alpha_low", "beta_low"),
            {"name": "cloud_lines", "transform": []},
        ],
        ([_ends("alpha", rows, estimated)], [_ends("beta", rows, estimated)]),
        [
            _ray("datum.slope", GREY, SAME_SHARE, data="cloud_lines", strokeDash={"value": [1, 3]}),
            _ray(f"{here['beta'] / here['alpha']:.6g}", VERMILION, OWN_SHARE, strokeWidth={"value": 1.6}),
            _names(),
            bars("barred", "beta", "alpha_low", "alpha_high", across=True, width=1.8),
            bars("barred", "alpha", "beta_low", "beta_high", width=1.8) | {"name": "bars_up"},
            *dots("cloud", "alpha", "beta", size=26),
            *dots("cloud_estimate", "alpha", "beta", size=110),
        ],
        groups=(RESAMPLE, ESTIMATE),
        series=(OWN_SHARE, SAME_SHARE),
        card=CLOUD_CARD,
    )  # fmt: skip
    return LiveFigure((chart,), {"cloud": rows, "cloud_estimate": estimated, "cloud_lines": lines})


def _ends(name: str, *sets: Sequence[Json]) -> str:
    """Return the expression of the range of a parameter with its interval."""
    fields = (name, f"{name}_low", f"{name}_high")
    values = [row[field] for rows in sets for row in rows for field in fields if row[field] is not None]
    return f"[{min(values):.6g}, {max(values):.6g}]"


def _ray(slope: str, colour: str, series: Series, *, data: str | None = None, **more: Any) -> Json:
    """Return the line β = slope · α through the window."""
    ends = {
        "x": {"scale": "x", "signal": "domain('x')[0]"},
        "y": {"scale": "y", "signal": f"{slope} * domain('x')[0]"},
        "x2": {"scale": "x", "signal": "domain('x')[1]"},
        "y2": {"scale": "y", "signal": f"{slope} * domain('x')[1]"},
    }
    look = {"stroke": {"value": colour}, "opacity": shown_if(series.name), **more}
    source = {"from": {"data": data}} if data else {}
    return {"type": "rule", "clip": True, "interactive": False, "encode": {"update": ends | look}} | source


def _names() -> Json:
    """Return the value of each line of constant β/(α+β), inside the edge at which it leaves the window."""
    text = {
        "x": {"scale": "x", "signal": "min(domain('x')[1], domain('y')[1] / datum.slope)"},
        "y": {"scale": "y", "signal": "min(domain('y')[1], datum.slope * domain('x')[1])"},
        "dx": {"value": -3},
        "dy": {"value": 3},
        "text": {"signal": "format(datum.share, '.2f')"},
        "align": {"value": "right"},
        "baseline": {"value": "top"},
        "fontSize": {"value": 10},
        "fill": {"value": "#4b5563"},
        "opacity": shown_if(SAME_SHARE.name),
    }
    return {"type": "text", "from": {"data": "cloud_lines"}, "clip": True, "interactive": False,
            "encode": {"update": text}}  # fmt: skip


def profile_figure(profiles: Sequence[ProfileRecord]) -> LiveFigure:
    """Return the figure of the rise of the objective with one parameter fixed, a chart a parameter."""
    rows: dict[str, list[Json]] = {}
    charts = []
    top = max(100 * (max(entry.objective) / entry.lowest - 1) for entry in profiles)
    for entry in profiles:
        name = f"profile_{entry.parameter}"
        rows[name] = [
            {"g": 0, "value": value, "rise": 100 * (objective / entry.lowest - 1)}
            for value, objective in zip(entry.values, entry.objective, strict=True)
        ]
        rows[f"{name}_best"] = [{"g": 0, "value": entry.estimate, "rise": 0.0}]
        charts.append(_profile(name, entry, top))
    return LiveFigure(tuple(charts), rows)


def _profile(name: str, entry: ProfileRecord, top: float) -> Json:
    title = AXES.get(entry.parameter, entry.parameter)
    low, high = ("open" if end is None else f"{end:.3g}" for end in entry.interval)
    marks: list[Json] = []
    if entry.cut is not None:
        cut = 100 * (entry.cut / entry.lowest - 1)
        marks = [_between(entry), across(f"{cut:.6g}", VERMILION)]
        marks[1]["encode"]["update"]["opacity"] = shown_if(CUT.name)
    bounded = f"; {100 * entry.level:g} % interval from {low} to {high}" if entry.cut is not None else ""
    return section_chart(
        f"Objective above its minimum, %, with {title} held at each value{bounded}",
        (Axis(title, log=False), Axis("objective above its minimum, %", log=False, zero=True)),
        [{"name": name, "transform": [SHOWN]}, {"name": f"{name}_best", "transform": [SHOWN]}],
        ([(name, "value")], [f"[0, {top:.4g}]"]),
        [
            *marks,
            group_lines(name, "value", "rise"),
            *dots(name, "value", "rise", size=12),
            *dots(f"{name}_best", "value", "rise"),
        ],
        groups=(PROFILE,),
        series=(CUT, INTERVAL) if entry.cut is not None else (),
        card=Card(
            (Told(title, "value", "figures"), Told("objective above its minimum, %", "rise", "figures"))
        ),
    )


def _between(entry: ProfileRecord) -> Json:
    """Return the interval of a profile as a band; an open end reaches the edge."""
    low, high = entry.interval
    ends = {
        "x": {"value": 0} if low is None else {"scale": "x", "value": low},
        "x2": {"signal": "width"} if high is None else {"scale": "x", "value": high},
        "y": {"value": 0},
        "y2": {"signal": "height"},
    }
    look = {"fill": {"value": ORANGE}, "opacity": shown_if(INTERVAL.name, 0.22)}
    return {"type": "rect", "clip": True, "interactive": False, "encode": {"update": ends | look}}
