"""What the laws that a table cannot exclude say together: E, the exponent a, and a larger run, in words."""

from __future__ import annotations

import numpy as np

from analysis.approaches.everything import frontier_flops
from analysis.averaging.average import LawAverage, average_laws
from analysis.averaging.quantities import SAID, averaged_frontier, averaged_quantities
from analysis.laws import family, find_law, saturating
from analysis.records.averages import AveragedQuantity, AveragedRecord
from analysis.tables.table import LossTable
from harness.records.number_text import estimate, power_of_ten, together

BEYOND = 10.0  # times the largest compute: how far a table of runs is commonly used
DRAWN_ROWS, FEWEST = 400_000, 40  # redrawn losses of a law at most, and the fewest draws
WORDS = {AveragedQuantity.E: "E", AveragedQuantity.A_EXACT: "a"}
NO_LIMITS = (
    f"the {saturating.FAMILY} law did not compete, because the table has no loss U of a unigram model and no "
    "vocabulary: map columns to unigram and vocab, or name the law saturating(U,V), V = ln(vocabulary)"
)


def over_laws(table: LossTable, laws: tuple[str, ...], resamples: int, level: float, seed: int) -> str | None:
    """Return in words what the laws say that the rows cannot exclude; None without a law in N and D.

    Args:
        table: the fitted rows.
        laws: names of laws that the table can determine.
        resamples: redrawn estimates a law; fewer on a long table, and 0 for weights without intervals.
        level: share of the intervals.
        seed: of starts and draws.
    """
    both = [law for law in laws if find_law(law).axes == "nd"]
    if not both:
        return None
    draws = min(resamples, max(DRAWN_ROWS // len(table), FEWEST))
    average = average_laws(table, both, resamples=draws, seed=seed)
    named = ", ".join(
        f"{family(entry.name)} {entry.weight:.2f}" for entry in average.kept if entry.weight >= SAID
    )
    held = len(table) - len(table.fitted())
    rows = f"all {len(table)} rows, the {held} held-out ones too," if held else "these rows"
    text = f"by weight, the laws that {rows} cannot exclude are {named}"
    if draws:
        text += f"; over them {_quantities(average, table, level)}"
    competed = any(family(law) == saturating.FAMILY for law in both)
    return text if table.limits or competed else f"{text}; {NO_LIMITS}"


def _quantities(average: LawAverage, table: LossTable, level: float) -> str:
    """Return E, a, and the loss of a new run at BEYOND times the largest compute, with intervals."""
    found = averaged_quantities(average, table, frontier_flops(table), level)
    said = [f"{WORDS[each.quantity]} {_stated(each)}" for each in found if each.quantity in WORDS]
    (best,) = averaged_frontier(average, table, np.array([BEYOND * float(table.c.max())]), level)
    loss = estimate(best.loss, (best.loss_low, best.loss_high))
    return (
        f"{', '.join(said)}; a new run at {power_of_ten(best.flops)} FLOPs, {BEYOND:g} times the largest "
        f"fitted compute and best divided, ends at {loss} nats per token"
    )


def _stated(found: AveragedRecord) -> str:
    ends = (found.low, found.high)
    if found.agree:
        return f"= {estimate(found.value, ends)}"
    return f"is not identified {together(found.value, ends)[1]}"
