"""Data of a live page: runs, curves, answers of the laws, and charts without rows, as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.approaches.envelope import lower_hull
from analysis.averaging.average import EXCLUDED
from analysis.cost import cost_between
from analysis.explorer.answers import (
    DEMAND_EVERY,
    DEMANDS,
    FIRST_DEMAND,
    MOST_DEMAND,
    LawAnswers,
    answers_of_laws,
    answers_with_a_part_left_out,
)
from analysis.explorer.charts import overview_chart, residual_charts, size_chart, tokens_chart
from analysis.explorer.curve_charts import Known, curves_chart, rates_chart
from analysis.explorer.curves import curve_data, forecast_ends
from analysis.explorer.surface import contours_chart, reach_of, surface_data
from analysis.explorer.vega import UNITS, Json
from analysis.laws import family
from analysis.plots.frontier import TOKENS_PER_PARAMETER, sizes_by_rule
from analysis.plots.runs import rungs_by_size
from analysis.plots.style import COUNT_NAMES, count_axis
from analysis.prediction.demand import DemandTable
from analysis.records.curves import Tried
from analysis.records.fit import COUNTS
from analysis.records.fits import StudyRecord
from analysis.records.frontier import FrontierRow
from analysis.tables.table import LossTable

EXCLUDED_BY = "excluded by all runs"
DIGITS = 6  # significant ones of a number in the page
READ_DIGITS = 5  # of a number that is read between others
DEMAND_UNIT = 1e-4  # factors under inference demand are whole numbers of it
SIZE_STEPS = 6  # of a decade of N, between which another count is read in logs
# Names in the page of the fields of a frontier.
FIELDS = {"c": "flops", "n": "n_opt", "d": "d_opt"}
FIELDS |= {name: name for name in ("loss", "n_low", "n_high", "d_low", "d_high", "loss_low", "loss_high")}
FIELDS |= {name: name for name in ("flat_low", "flat_high")}


@dataclass(frozen=True)
class Explored:
    """What a live page shows.

    Attributes:
        data: content of the page's JSON.
        laws: label of every law that can be chosen, all laws together first; empty without a law.
        left_out: {"size" or "budget": labels of the fits without one}, which follow the laws.
        units: {name: label} of the scales of the loss.
        counts: label of every way to count N, that of the fits first.
        level: share of the intervals; None without a law.
    """

    data: Json
    laws: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    units: Mapping[str, str]
    counts: tuple[str, ...]
    level: float | None


NOTHING = Explored(
    {"largest": None, "speed": None, "bits_per_nat": None, "surface": None, "several": None, "charts": {}}
    | {name: [] for name in ("laws", "left_out", "unseen", "frontier", "counts", "runs", "forecast")}
    | {"curves": {"rows": [], "kinds": [], "first": None}},
    (),
    {},
    {},
    (),
    None,
)


def explored(
    done: pd.DataFrame,
    points: pd.DataFrame,
    curves: pd.DataFrame,
    study: StudyRecord,
    table: LossTable | None,
    places: Mapping[Any, int],
    tried: Sequence[Tried] = (),
) -> Explored:
    """Return the content of a live page.

    Args:
        done: finished points, columns as in points.parquet.
        points: all end points, finished or not.
        curves: losses along training, columns as in curves.parquet; may be empty.
        study: content of fits.json.
        table: the fitted rows, whose `row` counts those of `done`; None without a law in N and D.
        places: {index of a point: its row in the page's table of points}.
        tried: where runs were going to end at shares of their training.

    Raises:
        InputError: the table cannot hold a law of the study.
    """
    count = first_count(study)
    answers = _answers(study, table)
    largest = float(done["flops"].max())
    per_nat = float((done["bits_per_byte"] / done["loss"]).mean())
    known = math.isfinite(per_nat)
    along = curve_data(done, points, curves)
    counts = counts_of(done, count)
    charts = _charts(done, study, table, along, with_law=bool(answers))
    level = study.quoted.level if study.quoted and answers else None
    data = {
        "count": count,
        "largest": largest,
        "speed": _speed(done),
        "bits_per_nat": per_nat if known else None,
        "level": level,
        "laws": [_name(each) for each in answers],
        "left_out": [each.left_out for each in answers],
        "unseen": [_unseen(each, done, table, places) for each in answers],
        "frontier": [_columns(each.frontier) for each in answers],
        "irreducible": [_irreducible(each, study) for each in answers],
        "demand": [_demand(each) for each in answers],
        "demands": {"first": FIRST_DEMAND, "most": MOST_DEMAND, "steps": DEMANDS - 1, "unit": DEMAND_UNIT},
        "rule": [_rule(done, name, answers) for name in counts],
        "counts": [COUNT_NAMES.get(name, name) for name in counts],
        "sizes": _sizes(done, counts, answers),
        "surface": surface_data(answers, table) if answers and table is not None else None,
        "runs": run_rows(done, counts, answers, table, places),
        "curves": along,
        "forecast": forecast_ends(done, tried, places) if along["rows"] else [],
        "hull": _hull(done) if along["rows"] else [],
        "several": None,
        "charts": charts,
    }
    units = {name: label for name, label in UNITS.items() if known or name != "bits"}
    laws = tuple(_label(each) for each in answers if each.left_out is None)
    left_out = {
        kind: tuple(str(_name(each)) for each in answers if each.part == kind) for kind in ("size", "budget")
    }
    labels = tuple(COUNT_NAMES.get(name, name) for name in counts)
    return Explored(rounded(data), laws, left_out, units, labels, level)


def _charts(
    done: pd.DataFrame, study: StudyRecord, table: LossTable | None, along: Json, *, with_law: bool
) -> dict[str, list[Json]]:
    """Return the charts of the page by figure; those of laws only if a law has answers."""
    rungs, largest = rungs_by_size(done), float(done["flops"].max())
    counts = counts_of(done, first_count(study))
    titles = [count_axis(name) for name in counts]
    charts: dict[str, list[Json]] = {
        "overview": [overview_chart(rungs, with_law=with_law, largest=largest)],
    }
    if along["rows"]:
        most, lowest = float(done["n_tokens"].max()), float(done["loss"].min())
        ends = Known(most, largest, lowest) if with_law else None
        others = any(not row["seen"] for row in along["rows"])
        for name, x in (("loss_curves", "d"), ("loss_against_compute", "c")):
            charts[name] = [curves_chart(rungs, x, ends, others=others)]
        if any(row["rates"] for row in along["rows"]):
            charts["loss_curves"].append(rates_chart(rungs, ends, others=others))
    if with_law:
        best = [f"best size N*, {COUNT_NAMES.get(name, name)}" for name in counts]
        charts["frontier"] = [size_chart(rungs, best, largest=largest), tokens_chart(rungs, largest=largest)]
        charts["residuals"] = residual_charts(rungs, titles, study.noise.pooled_relative)
    if with_law and table is not None:
        charts["contours"] = [contours_chart(rungs, titles, reach_of(done, counts, table))]
    return charts


def _answers(study: StudyRecord, table: LossTable | None) -> tuple[LawAnswers, ...]:
    """Return the answers of the laws that competed; none if the study drew no intervals."""
    fit = study.quoted
    if table is None or fit is None or not study.frontier or not fit.estimation:
        return ()
    laws = list(dict.fromkeys(row.law for row in study.contest if row.count == fit.count)) or [fit.law]
    if not fit.estimation.resamples:
        return ()
    options: dict[str, Any] = {"resamples": fit.estimation.resamples, "level": fit.level}
    return *answers_of_laws(table, laws, **options), *answers_with_a_part_left_out(table, laws, **options)


def _name(answers: LawAnswers) -> str | None:
    """Return the name that the page's address uses."""
    return f"all laws without {answers.left_out}" if answers.left_out else answers.name


def _label(answers: LawAnswers) -> str:
    if answers.name is None:
        return "all laws, by weight"
    if answers.weight is not None and answers.weight < EXCLUDED:
        return f"{answers.name}, {EXCLUDED_BY}"
    return f"{answers.name}, weight {answers.weight:.2f}"


def _irreducible(answers: LawAnswers, study: StudyRecord) -> dict[str, Any]:
    """Return E with its interval, and in words why no value of it is to be quoted, if none is."""
    found = answers.irreducible
    wanted = ("parametric", answers.name, first_count(study))
    own = (fit for fit in study.fits if (fit.approach, family(fit.law), fit.count) == wanted)
    fixed = study.fixes_irreducible(next(own, None))
    why = "" if found.agree and fixed else "not to be quoted" if found.agree else "not identified"
    return {"value": found.value, "low": found.low, "high": found.high, "why": why}


def _columns(frontier: Sequence[FrontierRow]) -> dict[str, list[float]]:
    return {
        name: [float(f"{getattr(row, field):.{READ_DIGITS}g}") for row in frontier]
        for name, field in FIELDS.items()
    }


def first_count(study: StudyRecord) -> str:
    """Return the column that counts N in the fits."""
    return study.primary.count if study.primary else COUNTS[1]


def counts_of(done: pd.DataFrame, count: str) -> list[str]:
    """Return the columns that count N for every run, that of the fits first."""
    whole = [name for name in COUNTS if name in done and (done[name].to_numpy(float) > 0).all()]
    return [count, *(name for name in whole if name != count)]


def _sizes(done: pd.DataFrame, counts: Sequence[str], answers: Sequence[LawAnswers]) -> list[list[float]]:
    """Return sizes under the first count, and the same ones under each other count, to be read between.

    Between the runs the page draws one model per size, so its counts follow from each other.
    """
    known = done[counts[0]].to_numpy(float)
    fields = ("n_low", "n_opt", "n_high", "flat_low", "flat_high")
    rows = [getattr(row, field) for each in answers for row in each.frontier for field in fields]
    ends = np.array([*known, *(value for value in rows if math.isfinite(value) and value > 0)])
    steps = int(SIZE_STEPS * np.log10(ends.max() / ends.min())) + 2
    sizes = np.geomspace(ends.min(), ends.max(), steps)
    others = [cost_between(known, done[name].to_numpy(float))(sizes) for name in counts[1:]]
    return [sizes.tolist(), *(other.tolist() for other in others)]


def _unseen(
    answers: LawAnswers, done: pd.DataFrame, table: LossTable | None, places: Mapping[Any, int]
) -> list[int]:
    """Return the runs that the law did not see, by their places in the page's table."""
    if answers.unseen is None or table is None:
        return []
    return [places[index] for index in done.index[table.row[answers.unseen]]]


def _demand(answers: LawAnswers) -> dict[str, Any]:
    """Return the cheapest runs with inference as factors on the best training run of the same loss.

    The ends of the interval are factors on the size itself. What no size in reach gives is null.
    """
    found: DemandTable = answers.demand
    known = answers.frontier[::DEMAND_EVERY]
    n, d, flops = (np.array([getattr(row, field) for row in known]) for field in ("n_opt", "d_opt", "flops"))
    factors = {
        "n": found.n / n[:, None],
        "n_low": found.n_low / found.n,
        "n_high": found.n_high / found.n,
        "d": found.d / d[:, None],
        "c": found.training / flops[:, None],
    }
    return {"flops": flops.tolist()} | {
        name: [
            [round(value / DEMAND_UNIT) if math.isfinite(value) else None for value in row]
            for row in factor.tolist()
        ]
        for name, factor in factors.items()
    }


def _rule(done: pd.DataFrame, count: str, answers: Sequence[LawAnswers]) -> dict[str, list[float]]:
    """Return sizes and tokens under the rule of tokens per parameter at the budgets of the answers."""
    if not answers:
        return {}
    sizes = sizes_by_rule(done, count, np.array([row.flops for row in answers[0].frontier]))
    return {"n_rule": sizes.tolist(), "d_rule": (TOKENS_PER_PARAMETER * sizes).tolist()}


def _speed(done: pd.DataFrame) -> float | None:
    """Return training FLOPs a second of the run of largest compute; None if no time was taken."""
    if "seconds" not in done:
        return None
    flops, seconds = (done[name].to_numpy(float) for name in ("flops", "seconds"))
    largest = int(np.argmax(flops))
    speed = flops[largest] / seconds[largest] if seconds[largest] > 0 else math.nan
    return float(speed) if math.isfinite(speed) else None


def run_rows(
    done: pd.DataFrame,
    counts: Sequence[str],
    answers: Sequence[LawAnswers],
    table: LossTable | None,
    places: Mapping[Any, int],
) -> list[Json]:
    """Return what the page says of each finished point, in the order of `done`."""
    residuals = np.full((len(done), len(answers)), np.nan)
    for law, each in enumerate(answers):
        if table is not None:
            residuals[table.row, law] = 100 * (table.loss / each.predicted - 1)
    rows = []
    for number, (index, point) in enumerate(done.iterrows()):
        row = {
            "id": places[index],
            "run": str(point["run_id"]),
            "rung": str(point["rung"]),
            "seed": int(point["seed"]),
            "role": str(point["role"]),
            "n": [float(point[name]) for name in counts],
            "d": float(point["n_tokens"]),
            "c": float(point["flops"]),
            "loss": float(point["loss"]),
            "sem": float(point.get("loss_sem", math.nan)),
            "residual": np.round(residuals[number], 3).tolist(),
        }
        rows.append(row)
    return rows


def _hull(done: pd.DataFrame) -> list[Json]:
    """Return the finished points on the lower convex hull of loss over compute, both in logs."""
    c, loss = done["flops"].to_numpy(float), done["loss"].to_numpy(float)
    return [{"c": float(c[row]), "loss": float(loss[row])} for row in lower_hull(np.log(c), np.log(loss))]


def rounded(value: Any) -> Any:
    """Return a JSON value with numbers of few digits; one that is not finite becomes null."""
    if isinstance(value, bool) or not isinstance(value, float | Mapping | list | tuple):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.{DIGITS}g}")
        return int(short) if short == int(short) and abs(short) < 1e15 else short
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value]
