"""The contest: candidate laws, the rule that weighs them, and the rollouts beside their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.arrays import Array
from analysis.averaging.average import EXCLUDED, LawAverage, average_laws
from analysis.contest.rollout import Rolled, cuts, rollout, rollout_rms
from analysis.laws import saturating, with_limits
from analysis.records.averages import ContestRow
from analysis.tables.table import LossTable

CANDIDATES = ("chinchilla", "quadrature", "joint", "saturating", "bounded")
LARGEST = "joint"  # a candidate with the most parameters: a forecast needs so many cells
CONTEST_RULE = (
    f"Candidates: {', '.join(CANDIDATES)} ({saturating.FAMILY} where the table has its two limits). Each law "
    "is fitted to the fit cells by generalised least squares on log loss: points of a trunk share noise, and "
    "the noise falls with N as seeds show. Its "
    "weight is exp(-(χ² + p·ln K)/2), scaled to a sum of 1: χ² is the sum of squares around the law over the "
    "variance between seeds, or over that around the best law if it is larger; p counts its parameters, K "
    "the cells. The law of largest weight is chosen. E, the exponents, the frontier and the forecast are "
    f"stated over all laws of weight {EXCLUDED:g} or more, each with its weight."
)


@dataclass(frozen=True)
class Entrant:
    """One law in a contest.

    Attributes:
        law: its name.  count: column that holds N.
        rollout_rms: RMS error of log loss over all cuts; None if no cut was possible.
        weight: its share of the average over laws, 0 … 1.  chi2: as in CONTEST_RULE.
        n_params: free parameters.
        chosen: whether CONTEST_RULE chose it.
        rolled: its predictions, cut by cut.
    """

    law: str
    count: str
    rollout_rms: float | None
    weight: float
    chi2: float
    n_params: int
    chosen: bool
    rolled: tuple[Rolled, ...]

    def to_row(self, chosen: bool) -> ContestRow:
        """Return the law's row in fits.json and forecast.json; a study may rest on a law `chosen` earlier."""
        return ContestRow(
            self.law, self.count, self.rollout_rms, self.n_params, chosen, weight=self.weight, chi2=self.chi2
        )


def candidates(table: LossTable) -> tuple[str, ...]:
    """Return the laws that compete on `table`: CANDIDATES without those whose limits the table lacks."""
    usable = [law for law in CANDIDATES if law != saturating.FAMILY or table.limits is not None]
    return tuple(with_limits(law, table.limits) for law in usable)


def contest(
    table: LossTable,
    laws: Sequence[str] | None = None,
    seed: int = 0,
    at: Array | None = None,
    average: LawAverage | None = None,
) -> list[Entrant]:
    """Weigh laws by CONTEST_RULE; the one of largest weight is chosen. Rollouts stand beside the weights.

    Args:
        table: finished runs, held-out ones left out.
        laws: names of the laws; `candidates(table)` by default.
        seed: of the starts.
        at: computes of the cuts, FLOPs; all that the laws allow (`rollout.cuts`) by default.
        average: of the same laws on the same table with the same seed, if there is one already.
    """
    laws = candidates(table) if laws is None else laws
    at = cuts(table, laws) if at is None else at
    average = average or average_laws(table, laws, resamples=0, seed=seed)
    weighed = {entry.name: entry for entry in average.laws}
    chosen = max(laws, key=lambda law: weighed[law].weight)
    entrants = []
    for law in laws:
        rolled, found = tuple(rollout(table, law, at, seed)), weighed[law]
        entrants.append(
            Entrant(
                law,
                table.count,
                rollout_rms(rolled),
                found.weight,
                found.chi2,
                found.law.n_free,
                law == chosen,
                rolled,
            )
        )
    return entrants
