"""Verdicts: an enum, the rules that lead to each, and their words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.arrays import Array
from analysis.emergence.statistics.power import ENOUGH, JUMP
from analysis.emergence.statistics.sharpness import MATERIAL, MIN_SIZES, SIGNIFICANCE
from analysis.emergence.statistics.width import NARROW

LEARNED = 0.98  # of the NLL of a guesser: above this nothing is learned
FLOOR = 0.05  # exact match that stays below this (above chance) has hardly left its floor
EARLY = 0.1  # share of its rise that a sharp-looking curve has at most made in the first third of the sizes
DEPENDENT = 0.5  # an answer of L positions that behaves like fewer than L/2, or more than 2·L


class Verdict(StrEnum):
    """What was found. The value is the code in emergence.json; `label` is what a reader sees."""

    TOO_FEW_SIZES = "too_few_sizes"
    NOT_LEARNED = "not_learned"
    SMOOTH = "smooth"
    METRIC_ARTEFACT = "metric_artefact"
    DEPENDENT_ERRORS = "dependent_errors"
    BELOW_RESOLUTION = "below_resolution"
    DELAYED_ONSET = "delayed_onset"
    TRANSITION = "transition"
    UNSEEN_TRANSITION = "unseen_transition"
    INCONCLUSIVE = "inconclusive"

    @property
    def label(self) -> str:
        return LABELS[self]


LABELS = {
    Verdict.TOO_FEW_SIZES: "too few sizes to test",
    Verdict.NOT_LEARNED: "not learned",
    Verdict.SMOOTH: "smooth under every metric",
    Verdict.METRIC_ARTEFACT: "smooth, sharp-looking only under exact match (metric artefact)",
    Verdict.DEPENDENT_ERRORS: "smooth per token, but errors within an answer are dependent (resolution)",
    Verdict.BELOW_RESOLUTION: "improving smoothly below what exact match can resolve (resolution)",
    Verdict.DELAYED_ONSET: "delayed onset, gradual",
    Verdict.TRANSITION: "transition under both metrics",
    Verdict.UNSEEN_TRANSITION: "transition in the smooth metric alone, which exact match does not show",
    Verdict.INCONCLUSIVE: "inconclusive",
}


@dataclass(frozen=True)
class Evidence:
    """The numbers that a verdict rests on.

    Attributes:
        p: Holm-corrected p-value of the ramp.  share: of the fall that lies in the ramp.
        lower, upper: one-sided 95 % limits of the 10–90 % width in decades.
        fall_p: p-value that the smooth metric falls at all.
        gain: lowest NLL of the last third over the NLL of a guesser; None where that is unknown.
        exact: exact match by size, above chance; None where the task has none.
        exact_limit: what exact match above chance must exceed to be more than luck.
        effective: interval of effective positions over positions; None without item results.
    """

    n_sizes: int
    p: float | None
    share: float
    lower: float
    upper: float
    power: float
    fall_p: float
    gain: float | None
    exact: Array | None
    exact_limit: float
    effective: tuple[float, float] | None


def decide(found: Evidence) -> Verdict:
    """The verdict; the first rule that holds counts."""
    if found.n_sizes < MIN_SIZES or found.p is None:
        return Verdict.TOO_FEW_SIZES
    if not learned(found):
        return Verdict.NOT_LEARNED
    if max(found.p, found.fall_p) < SIGNIFICANCE and found.share >= MATERIAL:
        if found.upper >= NARROW:
            return Verdict.DELAYED_ONSET
        seen = found.exact is not None and not at_floor(found.exact)
        return Verdict.TRANSITION if seen else Verdict.UNSEEN_TRANSITION
    if found.exact is not None and at_floor(found.exact) and found.fall_p < SIGNIFICANCE:
        return Verdict.BELOW_RESOLUTION
    if not shown_smooth(found):
        return Verdict.INCONCLUSIVE
    if found.exact is None:
        return Verdict.SMOOTH
    if found.effective and (found.effective[1] < DEPENDENT or found.effective[0] > 1 / DEPENDENT):
        return Verdict.DEPENDENT_ERRORS
    return Verdict.METRIC_ARTEFACT if looks_sharp(found.exact) else Verdict.SMOOTH


def learned(found: Evidence) -> bool:
    """Exact match above luck, or an NLL below a guesser's that falls (without one known: that falls)."""
    if found.exact is not None and float(np.mean(found.exact[-_third(found.exact) :])) > found.exact_limit:
        return True
    if found.gain is not None and found.gain > LEARNED:
        return False
    return found.fall_p < SIGNIFICANCE


def shown_smooth(found: Evidence) -> bool:
    """Whether the absence of a jump is a finding: the test would have seen one, or the fall is wide."""
    wrinkle = found.p is not None and found.p < SIGNIFICANCE and found.share < MATERIAL
    return found.power >= ENOUGH or found.lower > NARROW or wrinkle


def at_floor(exact: Array) -> bool:
    return bool(np.max(exact) < FLOOR)


def looks_sharp(exact: Array) -> bool:
    """Near its floor over the first third of the sizes, then risen: what is called emergent at sight."""
    top = float(np.max(exact))
    return top >= FLOOR and float(np.mean(exact[: _third(exact)])) < EARLY * top


def _third(values: Array) -> int:
    return max(len(values) // 3, 2)


def sentence(verdict: Verdict, found: Evidence) -> str:
    """Why, with the numbers."""
    if verdict is Verdict.TOO_FEW_SIZES:
        return f"{found.n_sizes} sizes; the test for a jump needs {MIN_SIZES}."
    jump, wide = _test_words(found), f"95 % limits of the 10–90 % width {_width(found)}"
    return {
        Verdict.NOT_LEARNED: "The largest models do no better than a guesser.",
        Verdict.SMOOTH: f"No jump in the smooth metric ({jump}; {wide}).",
        Verdict.METRIC_ARTEFACT: (
            f"Exact match stays near its floor, then rises; the smooth metric has no jump ({jump}; {wide})."
        ),
        Verdict.DEPENDENT_ERRORS: f"No jump in the smooth metric ({jump}); {_effective(found)}.",
        Verdict.BELOW_RESOLUTION: (
            f"The smooth metric improves (p {found.fall_p:.2g}) where exact match stays below "
            f"{FLOOR:g}: too coarse to show it ({jump})."
        ),
        Verdict.DELAYED_ONSET: (
            f"The smooth metric first hardly moves and then falls faster ({jump}), but not in a "
            f"narrow jump: {wide}."
        ),
        Verdict.TRANSITION: f"The smooth metric itself falls in a narrow jump ({jump}; {wide}).",
        Verdict.UNSEEN_TRANSITION: (
            f"The smooth metric falls in a narrow jump ({jump}; {wide}); exact match "
            + ("is not there." if found.exact is None else f"stays below {FLOOR:g}.")
        ),
        Verdict.INCONCLUSIVE: f"No jump was found, but one could have been missed ({jump}; {wide}).",
    }[verdict]


def _test_words(found: Evidence) -> str:
    ramp = f"p {found.p:.2g} after Holm's correction"
    if found.p is not None and found.p < SIGNIFICANCE:
        return f"{ramp}, {found.share:.0%} of the fall"
    return f"{ramp}; a jump of {JUMP:g} decades would be seen in {found.power:.0%} of cases"


def _width(found: Evidence) -> str:
    high = f"{found.upper:.2g}" if np.isfinite(found.upper) else "∞"
    return f"{found.lower:.2g} to {high} decades" if np.isfinite(found.lower) else "none, as nothing falls"


def _effective(found: Evidence) -> str:
    if found.effective is None:
        return ""
    low, high = found.effective
    share = f"{low:.0%} to {high:.0%}" if round(100 * low) < round(100 * high) else f"about {low:.0%}"
    return f"an answer behaves as if {share} of its positions were independent and the others followed"
