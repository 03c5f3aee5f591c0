"""Verdict of a study, in words for a reader who has never seen a scaling law fitted."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.averaging.average import EXCLUDED
from analysis.averaging.quantities import SAID, weights_text
from analysis.laws import family, find_law
from analysis.records.averages import AveragedQuantity, AveragedRecord, LawShare
from analysis.records.fit import FitRecord
from analysis.records.fits import StudyRecord
from analysis.records.forecast import ScoreRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.uncertainty.adequacy import SIGNIFICANCE
from harness.records.number_text import DASH, decimals, estimate, significant

# Nats from the lowest loss to the floor of a source within which E is right, in simulations of the source
# of results/chinchilla-synthetic (tests/analysis/averaging/test_known_floor.py).
NEAR_FLOOR = 0.2
TOLD_APART = 0.005  # difference of two weights that two decimals can show
PLAIN = {
    "chinchilla": "additive (Chinchilla) law",
    "quadrature": "quadrature law",
    "joint": "joint law",
    "joint_e0": "joint law without irreducible loss",
    "saturating": "saturating law",
    "bounded": "bounded law",
}


def verdict(study: StudyRecord) -> str:
    """Return the verdict: the law that holds, the errors of the others, how far to trust E and a."""
    fit = study.quoted
    if fit is None or study.likeliest is None:
        return (
            "No loss law could be fitted to these runs: they are too few or too much alike. The warnings say "
            "what is missing; nothing here should be used to plan a larger run."
        )
    parts = [
        _law(study, study.likeliest),
        laws_weighed(study),
        excluded_choice(study),
        weighed_by_the_fitted(study),
        _comparison(study),
        irreducible_loss(study),
        _exponent(study, fit),
    ]
    if study.objection:
        parts.append(f"None of these numbers is to be quoted: {study.objection}.")
    return " ".join(part for part in parts if part)


def _law(study: StudyRecord, name: str) -> str:
    opening = f"The {plain_name(name)}, L = {find_law(name).formula},"
    checked = study.adequacy.get(name)
    if checked is None:
        return f"{opening} was fitted to these runs."
    rms, seeds = 100 * checked.residual_rms, checked.seed_sd
    if seeds is None:
        return (
            f"{opening} leaves {rms:.2g} % of the loss unexplained; without runs repeated with other seeds "
            "nobody can say whether that is noise."
        )
    against = f"({rms:.2g} % of the loss, seeds {100 * seeds:.2g} %)"
    if checked.lack_of_fit_p is not None and checked.lack_of_fit_p < SIGNIFICANCE:
        return (
            f"{opening} describes these runs best but not fully: it leaves more unexplained than seeds "
            f"differ by {against}, so take it as a summary of these runs."
        )
    trends = [trend.axis for trend in checked.structure if trend.p < SIGNIFICANCE]
    if trends:
        return (
            f"{opening} describes these runs best but not fully: what it leaves unexplained is small "
            f"{against} but still follows {_list(trends)}."
        )
    return (
        f"{opening} describes these runs: what it leaves unexplained is compatible with the noise between "
        f"seeds {against}."
    )


def laws_weighed(study: StudyRecord) -> str:
    """Return the weights of the laws by all runs; nothing without any."""
    held_out = ", held-out ones included" if weighed_by_the_fitted(study) else ""
    weights = weights_text(study.weights.items())
    return f"Weights of the laws by all runs{held_out}: {weights}." if weights else ""


def weighed_by_the_fitted(study: StudyRecord) -> str:
    """Return the weights of the laws by the fitted runs, if those by all runs differ."""
    chosen = [(row.law, row.weight) for row in study.contest if row.weight is not None]
    apart = any(abs(weight - study.weights.get(law, 0.0)) >= TOLD_APART for law, weight in chosen)
    if not (study.weights and apart):
        return ""
    said = weights_text(sorted(chosen, key=lambda each: -each[1]))
    return f"By the fitted runs alone, which make the forecast, the weights are {said}."


def excluded_choice(study: StudyRecord) -> str:
    """Return the sentence that all runs exclude the law of the fitted runs; nothing if they do not."""
    if not (study.choice_excluded and study.primary):
        return ""
    return f"All runs exclude the {plain_name(study.primary.law)}, which the fitted runs alone had chosen."


def excluded_warning(study: StudyRecord) -> list[FitWarning]:
    """Return the warning that says so, with the weight that the fitted runs gave; none if they do not."""
    if not (study.choice_excluded and study.primary):
        return []
    law, likeliest = study.primary.law, study.likeliest
    before = next(row.weight for row in study.contest if row.law == law)
    weighed = "" if before is None else f" with a weight of {before:.2f}"
    message = (
        f"the fitted runs chose the {family(law)} law{weighed}; all runs, held-out ones included, give it "
        f"less than {EXCLUDED:g}, and the {family(likeliest or '')} law {study.weights[likeliest or '']:.2f}"
    )
    return [FitWarning(WarningCode.LAW_EXCLUDED, message)]


def choice_of_a_row(study: StudyRecord) -> str:
    """Return what the marked row of a table of fits is: recommended, or of a law that all runs doubt."""
    if study.objection:
        return "chosen by the rule, not to be quoted"
    if study.choice_excluded:
        return "chosen by the fitted runs, excluded by all runs"
    if study.primary and study.likeliest != study.primary.law:
        return f"chosen by the fitted runs; all runs favour {family(study.likeliest or '')}"
    return "recommended"


def _comparison(study: StudyRecord) -> str:
    """Return the errors of the chosen law and of the others, on the sealed forecast if there is one."""
    if study.forecast:
        return _forecast(study.forecast)
    errors = {row: row.rollout_rms for row in study.contest if row.rollout_rms is not None}
    chosen = next((row for row in errors if row.chosen), None)
    if chosen is None:
        return ""
    others = _list(
        [f"the {plain_name(row.law)} {100 * error:.2g} %" for row, error in errors.items() if not row.chosen]
    )
    missed = f" ({others})" if others else ""
    return (
        f"Fitted to the cheaper runs only, the {plain_name(chosen.law)} missed the dearer ones by "
        f"{100 * errors[chosen]:.2g} % RMS{missed}."
    )


def _forecast(score: ScoreRecord) -> str:
    cells = score.cells
    inside = sum(cell.inside for cell in cells)
    reach = max(cell.factor for cell in cells)
    text = (
        f"{the_forecast(score)} of {len(cells)} held-out cells, at up to {reach:.2g} times the largest "
        "fitted compute and sealed before they were trained, was off by "
        f"{_percent(score.rms_percent)} RMS, {inside} of {len(cells)} inside their intervals"
    )
    others = _list([f"the {plain_name(row.law)} {_percent(row.rms_percent)}" for row in score.losers])
    text += f"; for comparison: {others}." if others else "."
    return text if score.seal_intact else f"{text} The seal is broken, so this proves nothing."


def the_forecast(score: ScoreRecord) -> str:
    """Return the subject of a sentence on a forecast: whose it is."""
    if score.averaged:
        return "The forecast, over all laws that the fitted runs allow,"
    return f"The forecast by the {plain_name(score.law)}, which the fitted runs chose,"


def irreducible_loss(study: StudyRecord) -> str:
    """Return what the runs say of E, over all laws that they cannot exclude; never a bare number."""
    found = study.average(AveragedQuantity.E)
    if found is None:
        return ""
    named = [f"{plain_name(law.law)} {_value(law)}" for law in found.laws if law.weight >= SAID]
    over = f"over the laws that these runs cannot exclude ({_list(named)})"
    ends = f"[{significant(found.low)}, {significant(found.high)}]"
    if not found.agree:
        text = (
            f"The irreducible loss E is not identified: {over}, it may lie anywhere in {ends} nats per token."
        )
    elif not study.fixes_irreducible():
        text = (
            f"Do not quote the irreducible loss E: the measured losses end too far above it to fix it ({ends}"
            f" nats {over})."
        )
    else:
        value = estimate(found.value, (found.low, found.high), spell=significant)
        text = f"The irreducible loss E is {value} nats per token {over}."
    return f"{text} {_floor(study, found)}".rstrip()


def _value(law: LawShare) -> str:
    return estimate(law.value, (law.low, law.high), spell=significant)


def _floor(study: StudyRecord, found: AveragedRecord) -> str:
    """Return whether the interval of E holds the floor of a source that knows it."""
    floor = study.floor
    if floor is None:
        return ""
    if found.low <= floor <= found.high:
        return f"The source has a floor of {significant(floor, 4)}, which the interval holds."
    side = "above" if found.low > floor else "below"
    losses = [cell.loss for cell in study.forecast.cells] if study.forecast else []
    text = f"The source has a floor of {significant(floor, 4)}: the interval lies {side} it"
    gap = min(losses) - floor if losses else None
    if gap is not None and gap <= NEAR_FLOOR:
        return f"{text}, although the lowest loss is {gap:.2f} above it."
    how = "" if gap is None else f" (the lowest loss is {gap:.2f} above it)"
    return (
        f"{text}, because no law here is that of the source so far from it{how}. In simulations of such a "
        f"source E comes right once the lowest loss is within {NEAR_FLOOR:g} of the floor."
    )


def _exponent(study: StudyRecord, fit: FitRecord) -> str:
    """Return the exponent a with its interval, and its range without one size, which is no interval."""
    a, bounds = fit.exponents.a, fit.exponents.a_interval
    over_laws = study.average(AveragedQuantity.A_EXACT)
    if over_laws:
        a, bounds = over_laws.value, (over_laws.low, over_laws.high)
    if a is None:
        return ""
    text = (
        f"Counting FLOPs exactly, the best size grows as C^{estimate(a, bounds, 2, spell=decimals)} over the "
        "measured range"
    )
    rows = sorted(study.jackknife.a, key=lambda row: row.a)
    if len(rows) < 2:
        return f"{text}; no size could be left out to check it."
    low, high = (f"{row.a:.2f} without {row.left_out}" for row in (rows[0], rows[-1]))
    return (
        f"{text}. Under C = 6·N·D the exponent of the {plain_name(fit.law)} is "
        f"{decimals(fit.frontier.a)}, and it hangs on single sizes as far as from {low} to {high}."
    )


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{value:.2g} %"


def plain_name(law: str) -> str:
    """Return the name of a law in prose."""
    return PLAIN.get(family(law), f"{law} law")


def _list(items: Sequence[str]) -> str:
    return ", ".join(items)
