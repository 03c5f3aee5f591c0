"""Study of replications: coverage, widths and interval scores of what each of them states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.arrays import Interval
from analysis.forecast.seal import FAR, VERY_FAR, scores
from analysis.intervals import LEVEL, interval_score
from analysis.laws import family
from analysis.records.fits import StudyRecord
from analysis.records.forecast import ScoredCell
from analysis.records.replications import (
    HeldOutRecord,
    ParameterRecord,
    PartRecord,
    ReplicationRecord,
    ReplicationsRecord,
    StatedParameter,
)
from analysis.replications.measures import coverage, spread, widest_over_median
from analysis.replications.read import Replication, read_replications, seeds_of
from harness.records.errors import InputError

FACTORS = (1.0, FAR, VERY_FAR)  # least compute of the cells behind an error, over the largest fitted compute
OF_A_LAW = ("alpha", "beta")  # parameters that mean another thing in another law
MIN_OTHERS = 2  # other replications behind a mean
NAMES = ("a", "a_6nd", "alpha", "beta", "E")
OVER_LAWS = "over the laws"


def study_replications(folder: str | Path, *, fixed: int = 0) -> ReplicationsRecord:
    """Hold every stated interval of one experiment against its replications.

    The forecasts are scored anew from the points; fits.json gives the parameters as they were stated. The
    interval of a held-out loss is held against the loss of its own replication, and against that of the
    others. The interval of a parameter is held against the mean of the others.

    Args:
        folder: folder with the replications r01, r02 and so on, as `python -m harness.replicate` makes it.
        fixed: number of replications, the first ones, that a rule was fixed on; the others are shown apart.

    Returns:
        The record: `parts` with coverages, widths, interval scores and errors over all replications, over the
        fixed and over the unseen ones; `replications` one by one; `left_out` with reasons.

    Raises:
        InputError: fewer than two replications are finished, they are of different experiments or share runs,
            or a record cannot be read.

    References: Gneiting & Raftery 2007, for the interval score; Korn & Graubard 1998, for coverages.

    Examples:
        >>> import analysis as sl
        >>> found = sl.study_replications("results/replications/chinchilla", fixed=6)
        >>> print(f"{found.judged.held_out[0].coverage.share:.0%} of the losses are inside")
        96% of the losses are inside
    """
    read, left_out = read_replications(Path(folder))
    if fixed < 0 or fixed >= len(read):
        raise InputError(
            f"fixed={fixed} was given, expected a number from 0 to {len(read) - 1}, as one of the "
            f"{len(read)} replications must stay unseen; give {len(read) // 2}",
            "fixed",
        )
    level = next((each.forecast.level for each in read if each.forecast), LEVEL)
    stated = _stated(read)
    made = [_replication(each, stated[each.name], level) for each in read]
    parts = [_part("all", made, made, level)]
    if fixed:
        parts += [_part("fixed", made[:fixed], made, level), _part("unseen", made[fixed:], made, level)]
    return ReplicationsRecord(
        folder=Path(folder).as_posix(),
        level=level,
        factors=FACTORS,
        n_fixed=fixed,
        parts=tuple(parts),
        replications=tuple(made),
        left_out=tuple(left_out),
        doubts=tuple(_doubts(made)),
    )


def _replication(each: Replication, stated: Sequence[StatedParameter], level: float) -> ReplicationRecord:
    cells = each.cells
    return ReplicationRecord(
        name=each.name,
        seeds=seeds_of(each.points),
        law=each.forecast.law if each.forecast else None,
        created=each.forecast.created if each.forecast else None,
        table_matches=each.table_matches,
        cells=cells,
        rms_percent={f"{factor:g}": _rms(_from(cells, factor)) for factor in FACTORS},
        inside=sum(cell.inside for cell in cells),
        interval_score=float(scores(cells, level).mean()) if cells else None,
        parameters=tuple(stated),
        seconds=each.sweep.seconds_total or each.sweep.seconds if each.sweep else None,
    )


def _from(cells: Sequence[ScoredCell], factor: float) -> list[ScoredCell]:
    """Return the cells at this factor of compute and more; all of them at 1."""
    return [cell for cell in cells if factor <= FACTORS[0] or cell.factor >= factor]


def _rms(cells: Sequence[ScoredCell]) -> float | None:
    return float(np.sqrt(np.mean([cell.error_percent**2 for cell in cells]))) if cells else None


def _part(
    name: str, chosen: Sequence[ReplicationRecord], everyone: Sequence[ReplicationRecord], level: float
) -> PartRecord:
    """Return the results over the chosen replications; `everyone` supplies the losses of the others."""
    held_out = [_held_out(chosen, everyone, factor, level) for factor in FACTORS]
    parameters = [_parameter(name, chosen, level) for name in NAMES]
    return PartRecord(
        name,
        tuple(each.name for each in chosen),
        tuple(entry for entry in held_out if entry),
        tuple(entry for entry in parameters if entry),
    )


def _held_out(
    chosen: Sequence[ReplicationRecord],
    everyone: Sequence[ReplicationRecord],
    factor: float,
    level: float,
) -> HeldOutRecord | None:
    """Return the results over cells at this factor and more; None if no cell reaches it.

    A cell counts if its median factor over all replications reaches it, so that every replication has the
    same cells: the largest fitted compute is the same unless a run was lost.
    """
    rows = np.array(
        [[(c.low, c.high, c.loss, c.factor, c.error_percent) for c in each.cells] for each in everyone]
    )
    if not rows.size:
        return None
    reach = (np.median(rows[:, :, 3], axis=0) >= factor) | (factor <= FACTORS[0])
    if not reach.any():
        return None
    names = [each.name for each in chosen]
    own = np.array([each.name in names for each in everyone])
    low, high, loss, _, error = np.moveaxis(rows[:, reach], 2, 0)
    mine = loss[own]
    inside = (low[own] <= mine) & (mine <= high[own])
    # [replication, other, cell]: the loss of the same cell elsewhere.
    elsewhere = (low[own][:, None] <= loss) & (loss <= high[own][:, None])
    elsewhere[np.arange(len(mine)), np.flatnonzero(own)] = False
    half = 50 * (high[own] - low[own]) / mine
    score = 100 * interval_score(low[own], high[own], mine, level) / mine
    n_cells = int(reach.sum())
    return HeldOutRecord(
        at_least=factor,
        n_cells=n_cells,
        rms_percent=spread(np.sqrt((error[own] ** 2).mean(axis=1)).tolist()),
        coverage=coverage(inside.sum(axis=1).tolist(), [n_cells] * len(mine), level),
        coverage_of_others=coverage(
            elsewhere.sum(axis=(1, 2)).tolist(), [n_cells * (len(everyone) - 1)] * len(mine), level
        ),
        half_width_percent=spread(half.ravel().tolist()),
        widest_over_median=widest_over_median(half),
        interval_score=spread(score.mean(axis=1).tolist()),
    )


def _stated(read: Sequence[Replication]) -> dict[str, list[StatedParameter]]:
    """Return what each replication states on its parameters, with the mean of the others."""
    raw = {each.name: _parameters_of(each.study) if each.study else {} for each in read}
    return {
        name: [
            replace(parameter, others_mean=_mean_of_others(name, parameter, raw))
            for parameter in own.values()
        ]
        for name, own in raw.items()
    }


def _mean_of_others(
    name: str, parameter: StatedParameter, raw: Mapping[str, Mapping[str, StatedParameter]]
) -> float | None:
    """Return the mean of a parameter over the replications but one; None with fewer than MIN_OTHERS."""
    found = [own[parameter.name] for other, own in raw.items() if other != name and parameter.name in own]
    values = [each.value for each in found if parameter.name not in OF_A_LAW or each.law == parameter.law]
    return float(np.mean(values)) if len(values) >= MIN_OTHERS else None


def _parameters_of(study: StudyRecord) -> dict[str, StatedParameter]:
    """Return what a study states: a and E over the laws if it weighs them, all else from its quoted fit."""
    found: dict[str, StatedParameter] = {}

    def state(name: str, law: str, value: float | None, interval: Interval | None) -> None:
        if value is not None:
            found[name] = StatedParameter(name, law, value, interval, None)

    fit = study.quoted
    if fit is not None:
        for name, exponents in (("a", fit.frontier_exact), ("a_6nd", fit.frontier)):
            if exponents:
                state(name, fit.law, exponents.a, exponents.a_interval)
        for name in ("alpha", "beta", "E"):
            state(name, fit.law, fit.params.get(name), fit.interval.get(name))
    for average in study.averages:
        state(average.quantity.value, OVER_LAWS, average.value, (average.low, average.high))
    return found


def _parameter(name: str, chosen: Sequence[ReplicationRecord], level: float) -> ParameterRecord | None:
    """Return the results on one parameter; None if no replication states it."""
    stated = [entry for each in chosen for entry in each.parameters if entry.name == name]
    if not stated:
        return None
    values = [entry.value for entry in stated]
    pairs = [(e.interval, e.others_mean) for e in stated if e.interval and e.others_mean is not None]
    low, high, truth = np.array([(*ends, mean) for ends, mean in pairs]).reshape(-1, 3).T
    half = (high - low) / 2
    return ParameterRecord(
        name=name,
        n=len(values),
        mean=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        coverage=coverage(((low <= truth) & (truth <= high)).astype(int).tolist(), [1] * len(pairs), level),
        half_width=spread(half.tolist()) if pairs else None,
        widest_over_median=widest_over_median(half[:, None]) if pairs else None,
        interval_score=spread(interval_score(low, high, truth, level).tolist()) if pairs else None,
    )


def _doubts(made: Sequence[ReplicationRecord]) -> list[str]:
    """Return what speaks against the whole."""
    found = []
    other = [each.name for each in made if each.table_matches is False]
    if other:
        found.append(
            f"the forecast of {', '.join(other)} was not made from the fitted rows of points.parquet: runs "
            "were added or lost since"
        )
    laws = sorted({family(entry.law) for each in made for entry in each.parameters if entry.name in OF_A_LAW})
    if len(laws) > 1:
        found.append(
            f"alpha and beta are those of {len(laws)} laws ({', '.join(laws)}) and are compared within a law"
        )
    bare = [each.name for each in made if not each.parameters]
    if bare:
        found.append(f"no parameters of {', '.join(bare)}: fits.json is missing, or quotes no law")
    return found
