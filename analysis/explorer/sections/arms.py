"""Live figure of arms: multipliers of compute, tokens or parameters against the budget, with intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence

from analysis.explorer.charts import COMPUTE
from analysis.explorer.sections.figure import (
    SHOWN,
    Card,
    Choice,
    LiveFigure,
    Option,
    Told,
    bars,
    by_size,
    dots,
    group_lines,
    level,
    section_chart,
)
from analysis.explorer.vega import Axis, Json, formula
from analysis.records.comparison import ComparisonRecord, MultiplierRow

KINDS = {"compute": "compute C", "tokens": "tokens at equal N", "params": "parameters at equal D"}
APART = 1.03  # factor of compute between arms, whose budgets are nearly the same
CARD = Card(
    (
        Told("C", "c", "flops"),
        Told("times the largest of both arms", "factor", "times"),
        Told("multiplier of compute", "compute", low="compute_low", high="compute_high"),
        Told("of tokens", "tokens", low="tokens_low", high="tokens_high"),
        Told("of parameters", "params", low="params_low", high="params_high"),
        Told("probability that it is better", "better", "share"),
    )
)


def arms_figure(comparisons: Sequence[ComparisonRecord]) -> LiveFigure:
    """Return the figure of the arms that were compared with one base arm."""
    middle = (len(comparisons) - 1) / 2
    rows = [
        {"g": place, "x": row.flops * APART ** (place - middle), "c": row.flops, "same": 1.0} | _row(row)
        for place, each in enumerate(comparisons)
        for row in (*each.rows, *([each.target] if each.target else []))
    ]
    choices = (Choice("of", "multiplier of", tuple(Option(kind, label) for kind, label in KINDS.items())),)
    base = comparisons[0].first
    titles = {kind: f"{label.split()[0]} of {base} over that of the arm" for kind, label in KINDS.items()}
    ends = {"y": "", "low": "_low", "high": "_high"}
    asked = [formula(name, f"datum[of + '{end}']") for name, end in ends.items()]
    chart = section_chart(
        "Multiplier of each arm over the base arm against compute, with its interval",
        (COMPUTE, Axis(f"{json.dumps(titles)}[of]", "figures", computed=True)),
        [{"name": "arms", "transform": [*asked, SHOWN]}],
        ([("arms", "x")], [("arms", name) for name in ("low", "high", "same")]),
        [
            level(1.0),
            group_lines("arms", "x", "y", opacity=0.6),
            bars("arms", "x", "low", "high", width=2),
            *dots("arms", "x", "y", size=60),
        ],
        groups=by_size("arm", [each.second for each in comparisons]),
        card=CARD,
        choices=choices,
    )
    return LiveFigure((chart,), {"arms": rows}, choices)


def _row(row: MultiplierRow) -> Json:
    found: Json = {"factor": row.factor, "better": row.p_better}
    for kind in KINDS:
        found[kind] = getattr(row, kind)
        found[f"{kind}_low"], found[f"{kind}_high"] = getattr(row, f"{kind}_interval")
    return found
