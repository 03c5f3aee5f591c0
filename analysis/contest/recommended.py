"""Comparison of all approaches on one table, under each way of counting N.

The law to quote is chosen as in a study: laws are weighed by CONTEST_RULE (adequacy.py) on the rows that are
not held out. `python -m analysis.fit TABLE --approach all` prints the comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.approaches.envelope import APART
from analysis.approaches.everything import APPROACHES, Progress, fit_everything, unheard
from analysis.approaches.one_axis import fit_other_axis, one_axis_verdict, shared_axis
from analysis.arrays import Interval
from analysis.contest.adequacy import Entrant, candidates, contest
from analysis.contest.objections import mending, objection, said_beside
from analysis.contest.over_laws import over_laws
from analysis.contest.rollout import cuts, thinned
from analysis.intervals import LEVEL
from analysis.laws import family, find_law, saturating, with_limits
from analysis.records.fit import COUNTS, ComparedRecord, ContestedRecord, FitRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit
from analysis.solve.problem import ESTIMATORS, checked_problem
from analysis.tables.columns import columns_of_n
from analysis.tables.frames import read_frame
from analysis.tables.names import with_plain_names
from analysis.tables.table import LossTable, TableLike, as_table, load_table
from harness.records.errors import InputError
from harness.records.number_text import estimate, percent


@dataclass(frozen=True)
class Contest:
    """The law that the rule chose, the reason in words, and beside it the rollout errors (RMS of log loss).

    `chosen` is None if no law can be fitted; `laws` competed.
    """

    errors: Mapping[str, float]
    chosen: str | None
    reason: str
    n_predicted: int = 0
    laws: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Fits of all approaches.

    Attributes:
        fits: one entry an approach, law and count.
        recommended: position of the one to quote, None without one.
        reason: why it is, or why none is.
        not_possible: what the table does not allow, a sentence each.
        together: what the laws say that the rows cannot exclude, or what to mend in the table first; None
            without a law in N and D.
    """

    fits: tuple[Fit, ...]
    recommended: int | None
    reason: str
    not_possible: tuple[str, ...]
    together: str | None = None

    def __repr__(self) -> str:
        quoted = "none" if self.recommended is None else label(self.fits[self.recommended])
        return f"Comparison({len(self.fits)} fits, recommended: {quoted})"

    def frame(self) -> pd.DataFrame:
        """Return one row a fit: approach, count of N, exponent a with its interval, error, warnings."""
        rows = []
        for position, fit in enumerate(self.fits):
            found = fit.exponents
            low, high = found.a_interval or (None, None)
            row = {"approach": label(fit), "N": fit.count, "a": found.a, "low": low, "high": high}
            error = fit.contested.rollout_rms if fit.contested else None
            row |= {"rollout, %": None if error is None else 100 * error, "warnings": len(fit.warnings)}
            rows.append(row | {"recommended": position == self.recommended})
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table, and why its row is recommended."""
        table = self.frame().to_html(float_format=lambda value: f"{value:.3g}", na_rep="", border=0)
        return f"{table}<p>{escape(self.reason)}</p>"

    def to_records(self) -> list[FitRecord]:
        """Return one entry a fit, for JSON; the recommended one, or else the first, explains the choice."""
        explained = self.recommended or 0
        places = [ComparedRecord(recommended=i == self.recommended) for i in range(len(self.fits))]
        places[explained] = replace(
            places[explained], reason=self.reason, not_possible=self.not_possible, together=self.together
        )
        return [fit.to_record(place) for fit, place in zip(self.fits, places, strict=True)]


def counted_tables(
    source: str | Path | pd.DataFrame,
    *,
    mapping: Mapping[str, str] | None = None,
    count: str = COUNTS[0],
    loss: str = "loss",
    scale: Mapping[str, float] | None = None,
    where: Mapping[str, str] | None = None,
    axes: Collection[str] = "nd",
    loss_is: str | None = None,
) -> dict[str, LossTable]:
    """Return the table under each way of counting N, the primary one first.

    A mapping {"N": "total|body"} names several columns. Without one, the counts of our own tables are taken,
    `count` first. The other arguments are those of `load_table`.

    Raises:
        InputError: as `load_table`.
    """
    frame = with_plain_names(source) if isinstance(source, pd.DataFrame) else read_frame(Path(source))
    mapping = mapping or {}
    columns = columns_of_n(frame, mapping)

    def read(count: str, mapping: Mapping[str, str]) -> LossTable:
        options: dict[str, Any] = {"loss": loss, "scale": scale, "where": where, "axes": axes}
        return load_table(frame, mapping=mapping, count=count, loss_is=loss_is, **options)

    if len(columns) > 1:
        several = {name: read(count, {**mapping, "N": name}) for name in columns}
        return {name: replace(table, count=name) for name, table in several.items()}
    own = [] if columns else [name for name in dict.fromkeys((count, *COUNTS)) if name in frame]
    if count not in own:
        table = read(count, mapping)
        return {table.count: table}
    return {name: read(name, mapping) for name in own}


def compare_approaches(
    table: TableLike | Mapping[str, LossTable],
    law: str = "chinchilla",
    *,
    mapping: Mapping[str, str] | None = None,
    estimator: str = "huber",
    resamples: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    progress: Progress = unheard,
) -> Comparison:
    """Fit a table by every approach, under every way of counting N, and say which row to quote.

    `law` competes with the candidates of the contest. The law that the rule chooses is fitted under every
    count, the others under the primary one.

    Args:
        table: finished runs: a LossTable, or a frame or path that `load_table` reads; or {name of a count:
            table}, the primary one first (`counted_tables`).
        law: name of a law that competes.
        mapping: columns of a foreign table, as for `load_table`; {"N": "total|body"} names two counts.
        estimator: as for `fit_law`.
        resamples: bootstrap refits of the chosen law; the others get fewer.
        level: share of the intervals.
        seed: of everything random.
        progress: called with what is done next, in words.

    Returns:
        The fits of all approaches. `together` says what the laws give that the rows cannot exclude, whichever
        is recommended. What the table does not allow is named in `not_possible`. No fit is
        recommended if a warning blocks the fit of the chosen law as a whole, or if it is ill-conditioned. The
        same holds if its error is the largest or its cells are few. `reason` then says which runs would help.
        Of a table that is to be mended first, `together` says how.
        The recommended fit carries the disagreements of approaches and of counts. A parametric one under the
        primary count carries its error in the contest.

    Raises:
        InputError: a law or an estimator that does not exist, or a table to which nothing can be fitted.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> found = sl.compare_approaches(runs, resamples=0)
        >>> found.fits[found.recommended].approach
        'parametric'
    """
    tables = _by_count(table, mapping)
    primary, first = next(iter(tables.items()))
    wanted = find_law(with_limits(law, first.limits)).name
    saturating.check_limits(wanted, float(first.loss.min()))
    shared = shared_axis(first)
    if shared and find_law(wanted).axes == "nd":
        return _along_other_axis(tables, shared, level, seed)
    laws = tuple(dict.fromkeys((*candidates(first), wanted)))
    progress(f"the contest of {len(laws)} laws")
    found = contest_of(first, laws, wanted, estimator, seed)
    main = found.chosen or wanted
    others = [each for each in laws if each != main]
    attempts = fit_everything(
        dict(tables), None, None, main, others, resamples, level, seed, estimator, progress
    )
    not_possible = tuple(warning.message for warning in attempts.warnings)
    if not attempts.fits:
        raise InputError(f"no approach can be fitted to this table: {not_possible[0]}")
    fits = [_with_error(fit, found.errors.get(fit.law), primary) for fit in attempts.fits]
    fits.sort(key=lambda fit: (list(tables).index(fit.count), APPROACHES.index(fit.approach)))
    places = [(fit.approach, fit.law, fit.count) for fit in fits]
    chosen = ("parametric", main, primary)
    result = Comparison(tuple(fits), None, f"no row is recommended: {found.reason}", not_possible)
    if chosen not in places:
        return result
    at = places.index(chosen)
    fits[at] = fits[at].with_warnings(*disagreements(fits, at))
    collinear = WarningCode.COLLINEAR in {warning.code for warning in fits[at].warnings}
    said = mending(fits[at].warnings)
    if not said and not collinear:
        said = over_laws(first, found.laws, resamples, level, seed)
    result = replace(result, fits=tuple(fits), together=said)
    against = objection(fits[at], first, found.errors, found.n_predicted)
    if against:
        return replace(result, reason=f"no row is recommended: {against}")
    counted = f"; {primary} is the first way of counting N" if len(tables) > 1 else ""
    return replace(result, recommended=at, reason=found.reason + counted + said_beside(fits[at].warnings))


def _along_other_axis(tables: Mapping[str, LossTable], shared: str, level: float, seed: int) -> Comparison:
    """Return Kaplan's law along the axis that varies, and what such runs cannot say."""
    fits, warning = fit_other_axis(tables, shared, level, seed)
    if not fits:
        raise InputError(f"no approach can be fitted to this table: {warning.message}")
    return Comparison(tuple(fits), None, one_axis_verdict(fits, shared), (warning.message,))


def _by_count(
    table: TableLike | Mapping[str, LossTable], mapping: Mapping[str, str] | None
) -> dict[str, LossTable]:
    """Return {count: table} of whatever `compare_approaches` was given."""
    if isinstance(table, LossTable):
        return {table.count: as_table(table, mapping)}
    return dict(table) if isinstance(table, Mapping) else counted_tables(table, mapping=mapping, axes="")


def contest_of(table: LossTable, laws: Sequence[str], wanted: str, estimator: str, seed: int) -> Contest:
    """Let the rule choose one of `laws` on the rows that are not held out.

    Laws that the table cannot determine do not compete. If none can, `reason` says why for `wanted`.

    Raises:
        InputError: there is no such estimator.
    """
    if estimator not in ESTIMATORS:
        checked_problem(table, wanted, estimator)  # raises the reason
    rows = table.fitted()
    able = [law for law in laws if _problem_with(rows, law, estimator) is None]
    if not able:
        return Contest(
            {}, None, f"no law in N and D can be fitted ({_problem_with(rows, wanted, estimator)})"
        )
    usable = cuts(rows, able)
    at = thinned(usable)
    entrants = contest(rows, able, seed, at)
    (chosen,) = (entrant.law for entrant in entrants if entrant.chosen)
    measured = {entrant.law: entrant.rollout_rms for entrant in entrants if entrant.rollout_rms is not None}
    predicted = {entry.row for entrant in entrants for entry in entrant.rolled}
    which = "these rows" if len(rows) == len(table) else f"the {len(rows)} rows that are not held out"
    why = _why(entrants, which, len(at), len(usable))
    return Contest(measured, chosen, why, len(predicted), tuple(able))


def _problem_with(table: LossTable, law: str, estimator: str) -> str | None:
    try:
        checked_problem(table, law, estimator)
    except InputError as error:
        return str(error)
    return None


def _why(entrants: Sequence[Entrant], which: str, n_cuts: int, n_usable: int) -> str:
    """Return the reason for the choice: the weights of the laws, and the error beyond the fitted computes."""
    first, *others = sorted(entrants, key=lambda entrant: -entrant.weight)
    text = f"{family(first.law)} is the likeliest law of {which}, with a weight of {first.weight:.2f}"
    if others:
        text += f" (next: {family(others[0].law)}, {others[0].weight:.2f})"
    if first.rollout_rms is None:
        return f"{text}; too few cells to predict some from others"
    of_all = f"{n_cuts} of {n_usable}" if n_cuts < n_usable else f"{n_usable}"
    error = percent(first.rollout_rms)
    return f"{text}; fitted below {of_all} computes in turn, it misses the runs above by {error} RMS"


def _with_error(fit: Fit, error: float | None, primary: str) -> Fit:
    if fit.approach != "parametric" or fit.count != primary:
        return fit
    return replace(fit, contested=ContestedRecord(error))


def disagreements(fits: Sequence[Fit], recommended: int) -> list[FitWarning]:
    """Return warnings if other approaches, or other counts of N, contradict the recommended exponent a.

    Two intervals disagree if they do not overlap. An exponent without interval counts as ± APART, the
    difference between two readings of one edge.
    """
    quoted = fits[recommended]
    a, interval = quoted.exponents.a, quoted.exponents.a_interval
    if a is None or interval is None:
        return []
    approaches = [f for f in fits if f.approach != quoted.approach and f.count == quoted.count]
    counts = [f for f in fits if f.law == quoted.law and f.count != quoted.count]
    warnings = []
    for code, others, name in (
        (WarningCode.APPROACHES_DISAGREE, approaches, label),
        (WarningCode.COUNTS_DISAGREE, counts, lambda fit: f"N = {fit.count}"),
    ):
        apart = [f"{shown_exponent(other)} ({name(other)})" for other in others if _apart(interval, other)]
        if apart:
            own = f"{shown_exponent(quoted)} ({name(quoted)})"
            text = f"a = {own} against {', '.join(apart)}: further apart than the intervals say"
            warnings.append(FitWarning(code, text))
    return warnings


def _apart(interval: Interval, other: Fit) -> bool:
    a, theirs = other.exponents.a, other.exponents.a_interval
    if a is None:
        return False
    low, high = theirs or (a - APART, a + APART)
    return low > interval[1] or high < interval[0]


def label(fit: Fit) -> str:
    """Return approach and law, or approach and method for an approach without a law."""
    read = fit.isoflop or fit.envelope
    reading = read.method if read else family(fit.law)
    source = fit.envelope.source if fit.envelope else ""
    if reading.startswith(fit.approach):
        return reading
    return f"{fit.approach} {reading}" + (f" of {source}" if source else "")


def shown_exponent(fit: Fit) -> str:
    """Return the exponent a with its interval, as text."""
    found = fit.exponents
    return "" if found.a is None else estimate(found.a, found.a_interval)
