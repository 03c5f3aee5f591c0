"""Lead of a report: the answer in three sentences, from the records of the study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from analysis.averaging.quantities import SAID
from analysis.compare.text import verdict
from analysis.laws import find_law
from analysis.records.averages import AveragedQuantity
from analysis.records.emergence import EmergenceRecord, Verdict
from analysis.records.fit import FitRecord
from analysis.records.fits import StudyRecord
from analysis.records.forecast import ScoreRecord
from analysis.records.learning_rate import LearningRateRecord
from analysis.study.words import (
    excluded_choice,
    laws_weighed,
    plain_name,
    the_forecast,
)
from analysis.uncertainty.adequacy import SIGNIFICANCE
from harness.records.number_text import estimate, in_percent, number, percent, power_of_ten, si, together

# Words for the axes of a law.
AXIS_WORDS = {"n": "size N", "d": "training tokens D", "c": "compute C"}
SIZE_WORDS = {
    "n_params_matmul": "parameters of body and head",
    "n_params_body": "parameters of the body",
    "n_params": "parameters in all",
}
DECIDED = 1 - SAID  # weight from which no other law has a say


def lead(study: StudyRecord, done: pd.DataFrame, emergence: EmergenceRecord | None) -> list[str]:
    """Return up to three paragraphs: what was found, what follows for a budget, and how far to trust it.

    Args:
        study: content of fits.json.
        done: finished points.
        emergence: content of emergence.json, if the sweep has tasks.
    """
    if study.learning_rate:
        return _rates(study.learning_rate, done)
    fit = study.quoted
    if fit is None or study.likeliest is None:
        counts = [each.count for each in study.fits]
        return [_runs(done, *counts[:1]), *_one_axis(study.fits), *_tasks(emergence)]
    runs, law = _runs(done, fit.count), _law(study, study.likeliest)
    found = [runs, law, laws_weighed(study), excluded_choice(study)]
    return [" ".join(filter(None, part)) for part in (found, _best_use(study, done), [_test(study)])]


def finished_points(study: StudyRecord, points: pd.DataFrame) -> pd.DataFrame:
    """Return the finished end points that a study is about: fitted and held-out ones, or all tried rates."""
    roles = ["lr"] if study.learning_rate else ["fit", "holdout"]
    rows = points[(points["status"] == "done") & points["role"].isin(roles)]
    return rows[rows["excluded_reason"].isna()]


def answer(study: StudyRecord, points: pd.DataFrame, emergence: EmergenceRecord | None) -> list[str]:
    """Return the sentences that open a report: of each pair of arms, then the lead.

    Args:
        study: content of fits.json.
        points: all end points of the sweep.
        emergence: content of emergence.json, if the sweep has tasks.
    """
    arms = [verdict(each) for each in study.comparisons or ()]
    return [*arms, *lead(study, finished_points(study, points), emergence)]


def _sizes(done: pd.DataFrame, count: str = "n_params") -> str:
    """Return how many sizes there are, from where to where, and what they count."""
    sizes = done[count].unique()
    ends = f"{si(min(sizes))} to {si(max(sizes))}" if len(sizes) > 1 else si(sizes[0])
    return f"{len(sizes)} size{'s' if len(sizes) > 1 else ''} ({ends} {SIZE_WORDS.get(count, 'parameters')})"


def _tokens(done: pd.DataFrame) -> str:
    least, most = done["n_tokens"].min(), done["n_tokens"].max()
    return f"{si(least)} tokens" if least == most else f"{si(least)} to {si(most)} tokens"


def _runs(done: pd.DataFrame, count: str = "n_params") -> str:
    return f"{len(done)} runs of {_sizes(done, count)} on {_tokens(done)} finished."


def _law(study: StudyRecord, law: str) -> str:
    best = "" if study.weights.get(law, 1.0) >= DECIDED else " best"
    text = f"Their loss follows the {plain_name(law)}{best}"
    test = study.adequacy.get(law)
    if test is None:
        return f"{text}."
    rest, seeds = f"{percent(test.residual_rms)} of the loss", percent(test.seed_sd)
    if test.seed_sd is None:
        return f"{text}; it leaves {rest} unexplained, and more seeds would say how much of it is noise."
    if test.lack_of_fit_p is not None and test.lack_of_fit_p < SIGNIFICANCE:
        return f"{text}, but not fully: it leaves {rest} unexplained, and seeds differ by {seeds} only."
    if any(trend.p < SIGNIFICANCE for trend in test.structure):
        return f"{text}, but not fully: it leaves {rest} unexplained, with a trend in it (seeds: {seeds})."
    return f"{text} and leaves {rest} unexplained, which the noise between seeds ({seeds}) can account for."


def _best_use(study: StudyRecord, done: pd.DataFrame) -> list[str]:
    if study.objection:
        return [f"Neither E nor how compute is best divided can be said yet: {study.objection}."]
    found = study.average(AveragedQuantity.A_EXACT)
    if found is None or not study.frontier:
        return [_irreducible(study), "The fit gives no best use of a compute budget."]
    largest = math.log(done["flops"].max())
    row = min(study.frontier, key=lambda row: abs(math.log(row.flops) - largest))
    best = (
        f"The best size grows as C^{estimate(found.value, (found.low, found.high))}; at "
        f"{power_of_ten(row.flops)} FLOPs it is {_range(row.n_opt, row.n_low, row.n_high)} parameters on "
        f"{_range(row.d_opt, row.d_low, row.d_high)} tokens."
    )
    return [_irreducible(study), best]


def _irreducible(study: StudyRecord) -> str:
    """Return E over the laws; never a value that the laws or the losses leave open."""
    found = study.average(AveragedQuantity.E)
    if found is None:
        return ""
    value, ends = together(found.value, (found.low, found.high))
    if not found.agree:
        return f"Over these laws the irreducible loss E is not identified: it may lie anywhere in {ends}."
    if not study.fixes_irreducible():
        return f"Over these laws E lies in {ends} nats, too far below the losses to be quoted."
    return f"Over these laws the irreducible loss E is {value} {ends} nats."


def _range(value: float, low: float, high: float) -> str:
    return f"{si(value)} [{si(low)}, {si(high)}]"


def _test(study: StudyRecord) -> str:
    if study.forecast:
        n = len(study.scores)
        others = f" {n} forecasts were sealed; this is the first whose runs are finished." if n > 1 else ""
        return _forecast(study.forecast) + others
    chosen = next((row for row in study.contest if row.chosen and row.rollout_rms is not None), None)
    if chosen is None:
        return "No run was held out, so no prediction was put to the test."
    return (
        f"Fitted to the cheaper runs alone, the {plain_name(chosen.law)} missed the dearer ones by "
        f"{percent(chosen.rollout_rms)} RMS."
    )


def _forecast(score: ScoreRecord) -> str:
    cells, inside = score.cells, sum(cell.inside for cell in score.cells)
    runs = f"{len(cells)} larger run{'s' if len(cells) > 1 else ''}"
    if not score.seal_intact:
        return "The seal of its forecast is broken, so the score of the forecast proves nothing."
    return (
        f"{the_forecast(score)} of {runs}, sealed before training and reaching "
        f"{max(cell.factor for cell in cells):.2g} times the largest fitted compute, was off by "
        f"{in_percent(score.rms_percent)} RMS; {inside} of {len(cells)} losses lie inside their intervals."
    )


def _one_axis(fits: Sequence[FitRecord]) -> list[str]:
    """Return the sentence on the first law that could be fitted, one with an offset E if there is one."""
    laws = [fit for fit in fits if fit.approach in ("parametric", "kaplan")]
    laws = [fit for fit in laws if "E" in fit.params] or laws
    if not laws:
        return ["No loss law could be fitted to them."]
    fit, law = laws[0], find_law(laws[0].law)
    axes = " and ".join(AXIS_WORDS[axis] for axis in law.axes)
    values = ", ".join(f"{name} = {number(value)}" for name, value in fit.params.items())
    return [f"The loss falls with {axes} as L = {law.formula}, with {values}."]


def _tasks(emergence: EmergenceRecord | None) -> list[str]:
    if not emergence or not emergence.axes:
        return []
    counts = Counter(task.label for task in emergence.first)
    jumps = sum(task.verdict == Verdict.TRANSITION for task in emergence.first)
    common = " and ".join(f"“{label}” ({count})" for label, count in counts.most_common(2))
    return [
        f"{jumps or 'None'} of {counts.total()} tasks along {emergence.axes[0].axis} "
        f"{'jump' if jumps > 1 else 'jumps'} in the smooth metric and in exact match; most often the verdict "
        f"is {common}."
    ]


def _rates(rates: LearningRateRecord, done: pd.DataFrame) -> list[str]:
    names = ", ".join(group.group for group in rates.groups)
    costs = [
        (row.recipe_cost_percent, f"{group.group} rate at {row.rung}")
        for group in rates.groups
        for row in group.optima
        if row.recipe_cost_percent is not None
    ]
    found = [
        f"{len(done)} runs of {_sizes(done)} tried the peak learning rates ({names}), one group at a time."
    ]
    if costs:
        worst, where = max(costs)
        found.append(f"The recipe's own rates cost at most {in_percent(worst)} of the loss ({where}).")
    if any(group.rule.rate_64 is not None for group in rates.groups):
        found.append("To train with the measured rates, add optim=FOLDER/optim.yaml of this sweep's folder.")
    return found


def rate_table(rates: LearningRateRecord) -> list[dict[str, str]]:
    """Return a row a group: the best rate, its power of the width, and what the recipe costs."""
    rows = []
    for group in rates.groups:
        rule = group.rule
        known = [row for row in group.optima if row.recipe_cost_percent is not None]
        worst = max(known, key=lambda row: row.recipe_cost_percent or 0.0, default=None)
        recipe = group.rules[0] if group.rules else None
        best, best_interval = together(rule.rate_64, rule.rate_64_interval, 4)
        exponent, exponent_interval = together(rule.exponent, rule.exponent_interval, 2)
        cost = f"{in_percent(worst.recipe_cost_percent)} at {worst.rung}" if worst else in_percent(None)
        rows.append(
            {
                "group": group.group,
                "best": best,
                "best_interval": best_interval,
                "recipe": number(recipe.recipe_rate_64 if recipe else None, 4),
                "exponent": exponent,
                "exponent_interval": exponent_interval,
                "recipe_exponent": number(recipe.recipe_exponent if recipe else None, 2),
                "cost": cost,
                "note": rule.reason or "",
            }
        )
    return rows
