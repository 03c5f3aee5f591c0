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
from analysis.explorer.answers import LawAnswers, answers_of_laws, answers_without_each_size
from analysis.explorer.charts import curves_chart, overview_chart, residual_charts, size_chart, tokens_chart
from analysis.explorer.vega import UNITS, Json
from analysis.plots.frontier import TOKENS_PER_PARAMETER, sizes_by_rule
from analysis.plots.runs import rungs_by_size
from analysis.plots.style import COUNT_NAMES, count_axis
from analysis.records.fit import COUNTS
from analysis.records.fits import StudyRecord
from analysis.records.frontier import FrontierRow
from analysis.tables.table import LossTable

DIGITS = 6  # significant ones of a number in the page
CURVE_POINTS = 120  # of one trajectory at most
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
        left_out: labels of the fits without one size, which follow the laws.
        units: {name: label} of the scales of the loss.
        level: share of the intervals; None without a law.
    """

    data: Json
    laws: tuple[str, ...]
    left_out: tuple[str, ...]
    units: Mapping[str, str]
    level: float | None


NOTHING = Explored(
    {"largest": None, "speed": None, "laws": [], "left_out": [], "frontier": [], "runs": [], "charts": {}},
    (),
    (),
    {},
    None,
)


def explored(
    done: pd.DataFrame,
    curves: pd.DataFrame,
    study: StudyRecord,
    table: LossTable | None,
    places: Mapping[Any, int],
) -> Explored:
    """Return the content of a live page.

    Args:
        done: finished points, columns as in points.parquet.
        curves: losses along training, columns as in curves.parquet; may be empty.
        study: content of fits.json.
        table: the fitted rows, whose `row` counts those of `done`; None without a law in N and D.
        places: {index of a point: its row in the page's table of points}.

    Raises:
        InputError: the table cannot hold a law of the study.
    """
    count = study.primary.count if study.primary else COUNTS[1]
    answers = _answers(study, table)
    rungs = rungs_by_size(done)
    largest = float(done["flops"].max())
    per_nat = float((done["bits_per_byte"] / done["loss"]).mean())
    known = math.isfinite(per_nat)
    charts: dict[str, list[Json]] = {
        "overview": [overview_chart(rungs, with_law=bool(answers), largest=largest)],
    }
    segments = curve_rows(done, curves)
    if segments:
        charts["loss_curves"] = [curves_chart(rungs, "d")]
        charts["loss_against_compute"] = [curves_chart(rungs, "c")]
    if answers:
        title = count_axis(count)
        charts["frontier"] = [
            size_chart(rungs, f"best size N*, {COUNT_NAMES.get(count, count)}", largest=largest),
            tokens_chart(rungs, largest=largest),
        ]
        charts["residuals"] = residual_charts(rungs, title, study.noise.pooled_relative)
    level = study.quoted.level if study.quoted and answers else None
    data = {
        "count": count,
        "largest": largest,
        "speed": _speed(done),
        "bits_per_nat": per_nat if known else None,
        "level": level,
        "laws": [_name(each) for each in answers],
        "left_out": [each.left_out for each in answers],
        "frontier": [_columns(each.frontier) for each in answers],
        "rule": _rule(done, count, answers),
        "runs": run_rows(done, count, answers, table, places),
        "curves": segments,
        "hull": _hull(done) if segments else [],
        "charts": charts,
    }
    units = {name: label for name, label in UNITS.items() if known or name != "bits"}
    laws = tuple(_label(each) for each in answers if each.left_out is None)
    left_out = tuple(_name(each) or "" for each in answers if each.left_out is not None)
    return Explored(rounded(data), laws, left_out, units, level)


def _answers(study: StudyRecord, table: LossTable | None) -> tuple[LawAnswers, ...]:
    """Return the answers of the laws that competed; none if the study drew no intervals."""
    fit = study.quoted
    if table is None or fit is None or not study.frontier or not fit.estimation:
        return ()
    laws = list(dict.fromkeys(row.law for row in study.contest if row.count == fit.count)) or [fit.law]
    if not fit.estimation.resamples:
        return ()
    options: dict[str, Any] = {"resamples": fit.estimation.resamples, "level": fit.level}
    return *answers_of_laws(table, laws, **options), *answers_without_each_size(table, fit.law, **options)


def _name(answers: LawAnswers) -> str | None:
    """Return the name that the page's address uses."""
    return f"{answers.name} without {answers.left_out}" if answers.left_out else answers.name


def _label(answers: LawAnswers) -> str:
    if answers.name is None:
        return "all laws, by weight"
    if answers.weight is not None and answers.weight < EXCLUDED:
        return f"{answers.name}, excluded by the runs"
    return f"{answers.name}, weight {answers.weight:.2f}"


def _columns(frontier: Sequence[FrontierRow]) -> dict[str, list[float]]:
    return {name: [getattr(row, field) for row in frontier] for name, field in FIELDS.items()}


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
    count: str,
    answers: Sequence[LawAnswers],
    table: LossTable | None,
    places: Mapping[Any, int],
) -> list[Json]:
    """Return what the page says of each finished point, in the order of `done`."""
    residuals = np.full((len(done), len(answers)), np.nan)
    for law, each in enumerate(answers):
        if table is not None:
            residuals[table.row, law] = 100 * (table.loss / each.predicted - 1)
    counts = [name for name in COUNTS if name in done]
    rows = []
    for number, (index, point) in enumerate(done.iterrows()):
        row = {
            "id": places[index],
            "run": str(point["run_id"]),
            "rung": str(point["rung"]),
            "seed": int(point["seed"]),
            "role": str(point["role"]),
            "n": float(point[count]),
            "d": float(point["n_tokens"]),
            "c": float(point["flops"]),
            "loss": float(point["loss"]),
            "sem": float(point.get("loss_sem", math.nan)),
            "counts": {COUNT_NAMES[name]: float(point[name]) for name in counts},
            "residual": residuals[number].tolist(),
        }
        rows.append(row)
    return rows


def curve_rows(done: pd.DataFrame, curves: pd.DataFrame) -> list[Json]:
    """Return one entry a trunk and a branch of the finished runs, with its losses.

    The losses are those on the evaluation text if there are any, else those of training.
    """
    if curves.empty:
        return []
    rung_of = dict(zip(done["run_id"].astype(str), done["rung"].astype(str), strict=True))
    loss = "eval_loss" if curves["eval_loss"].notna().any() else "train_loss"
    rows = curves[curves["run_id"].isin(done["run_id"])].dropna(subset=[loss])
    found = []
    for key, ((run, _), segment) in enumerate(rows.groupby(["run_id", "point_id"], dropna=False)):
        ordered = segment.sort_values("step")
        shown = ordered.iloc[_thinned(len(ordered))]
        found.append(
            {
                "key": key,
                "run": str(run),
                "rung": rung_of[str(run)],
                "trunk": bool(segment["point_id"].isna().all()),
                "flops_per_token": float((shown["flops"] / shown["n_tokens"]).iloc[-1]),
                "tokens": shown["n_tokens"].tolist(),
                "losses": shown[loss].tolist(),
            }
        )
    return found


def _hull(done: pd.DataFrame) -> list[Json]:
    """Return the finished points on the lower convex hull of loss over compute, both in logs."""
    c, loss = done["flops"].to_numpy(float), done["loss"].to_numpy(float)
    return [{"c": float(c[row]), "loss": float(loss[row])} for row in lower_hull(np.log(c), np.log(loss))]


def _thinned(length: int) -> list[int]:
    """Return the places of the rows that are shown of so many, both ends among them."""
    return sorted({round(place) for place in np.linspace(0, length - 1, min(length, CURVE_POINTS))})


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
