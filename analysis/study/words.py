"""Verdict of a study, in words for a reader who has never seen a scaling law fitted."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.contest.adequacy import SIGNIFICANCE
from analysis.laws import family, find_law
from analysis.records.fit import FitRecord, WarningCode
from analysis.records.fits import ScoreRecord, StudyRecord
from harness.records.number_text import DASH, decimals, estimate, significant

UNQUOTABLE = {WarningCode.E_NOT_BRACKETED, WarningCode.ACTIVE_BOUND}
PLAIN = {
    "chinchilla": "additive (Chinchilla) law",
    "quadrature": "quadrature law",
    "joint": "joint law",
    "joint_e0": "joint law without irreducible loss",
    "saturating": "saturating law",
}
Z90 = 1.645


def verdict(study: StudyRecord) -> str:
    """Return the verdict: the law that holds, the errors of the others, how far to trust E and a."""
    fit = study.quoted
    if fit is None:
        return (
            "No loss law could be fitted to these runs: they are too few or too much alike. The warnings say "
            "what is missing; nothing here should be used to plan a larger run."
        )
    parts = [_law(study, fit), _comparison(study), _offset(fit), _exponent(study, fit)]
    if study.objection:
        parts.append(f"None of these numbers is to be quoted: {study.objection}.")
    return " ".join(part for part in parts if part)


def _law(study: StudyRecord, fit: FitRecord) -> str:
    name = fit.law
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


def _comparison(study: StudyRecord) -> str:
    """Return the errors of the chosen law and of the others, on the sealed forecast if there is one."""
    if study.forecast:
        return _forecast(study.forecast)
    errors = {row: row.rollout_rms for row in study.contest if row.rollout_rms is not None}
    own = next((error for row, error in errors.items() if row.chosen), None)
    if own is None:
        return ""
    others = _list(
        [f"the {plain_name(row.law)} {100 * error:.2g} %" for row, error in errors.items() if not row.chosen]
    )
    missed = f" ({others})" if others else ""
    return f"Fitted to the cheaper runs only, it missed the dearer ones by {100 * own:.2g} % RMS{missed}."


def _forecast(score: ScoreRecord) -> str:
    cells = score.cells
    inside = sum(cell.inside for cell in cells)
    text = (
        f"Its forecast of {len(cells)} held-out cells, at up to {max(cell.factor for cell in cells):.2g} "
        f"times the largest fitted compute and sealed before they were trained, was off by "
        f"{_percent(score.rms_percent)} RMS, {inside} of {len(cells)} inside their intervals"
    )
    others = _list([f"the {plain_name(row.law)} {_percent(row.rms_percent)}" for row in score.losers])
    text += f"; for comparison: {others}." if others else "."
    return text if score.seal_intact else f"{text} The seal is broken, so this proves nothing."


def _offset(fit: FitRecord) -> str:
    codes = {warning.code for warning in fit.warnings}
    if "E" not in fit.params:
        return (
            "The law has no irreducible loss E: these runs do not show one, which does not mean that there "
            "is none."
        )
    value, bounds = fit.params["E"], fit.interval.get("E")
    shown = f"E = {estimate(value, bounds, spell=significant)}"
    if codes & UNQUOTABLE:
        return f"Do not quote E ({shown}): the measured losses end too far above it to fix it."
    return f"The irreducible loss is {shown} nats per token, as far as the form of the law holds."


def _exponent(study: StudyRecord, fit: FitRecord) -> str:
    a, bounds = fit.exponents.a, fit.exponents.a_interval
    if a is None:
        return ""
    text = (
        f"Counting FLOPs exactly, the best size grows as C^{estimate(a, bounds, 2, spell=decimals)} over the "
        "measured range"
    )
    error = study.jackknife.a_se
    if error is None:
        return f"{text}; no size could be left out to check it."
    half = (bounds[1] - bounds[0]) / 2 if bounds else 0.0
    if Z90 * error > half:
        return (
            f"{text}; leaving out one size at a time says ±{Z90 * error:.2f}, which is wider and the figure "
            "to believe."
        )
    return f"{text}; leaving out one size at a time agrees (±{Z90 * error:.2f})."


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{value:.2g} %"


def plain_name(law: str) -> str:
    """Return the name of a law in prose."""
    return PLAIN.get(family(law), f"{law} law")


def _list(items: Sequence[str]) -> str:
    return ", ".join(items)
