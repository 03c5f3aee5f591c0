"""Rules that turn the statistics of a task into a verdict, and the sentence that gives the reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from analysis.emergence.statistics.power import ENOUGH, JUMP
from analysis.emergence.statistics.sharpness import MATERIAL, MIN_SIZES, SIGNIFICANCE
from analysis.emergence.statistics.width import NARROW
from analysis.records.emergence import Verdict

LEARNED = 0.98  # ratio to the NLL of guessing above which nothing is learned
FLOOR = 0.05  # exact match above chance that counts as having left its floor
EARLY = 0.1  # largest share of its rise that a sharp-looking curve makes in the first third of the sizes
DEPENDENT = 0.5  # errors are dependent if L positions count as fewer than L/2 effective ones or more than 2·L
# Verdicts under which the fitted curves may be extrapolated to larger models.
EXTRAPOLATES = (Verdict.SMOOTH, Verdict.METRIC_ARTEFACT, Verdict.DEPENDENT_ERRORS)


@dataclass(frozen=True)
class Evidence:
    """Statistics that the rules of a verdict compare.

    Attributes:
        n_sizes: number of sizes.
        p: Holm-corrected p-value of the sup-F test; None if there was no test.
        share: fall in the best ramp over the range of ln NLL.
        lower: one-sided 95 % lower limit of the 10–90 % width, decades; NaN if nothing falls.
        upper: one-sided 95 % upper limit, decades; ∞ if it is unbounded.
        power: power of the sup-F test against a jump of JUMP decades.
        fall_p: one-sided p-value of the slope of ln NLL.
        gain: mean NLL of the largest third of the sizes over that of guessing; None if unknown.
        exact: exact match by size minus chance; None if the task has none.
        exact_limit: exact match above chance that luck does not reach.
        effective: interval of effective over actual positions; None without item-level results.
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
    """Return the verdict; the first rule that holds counts."""
    if found.n_sizes < MIN_SIZES or found.p is None:
        return Verdict.TOO_FEW_SIZES
    if not learned(found):
        return Verdict.NOT_LEARNED
    # A significant ramp alone is no jump: the metric must fall as a whole, and mostly in the ramp.
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
    """Return whether the largest models beat guessing.

    Either exact match exceeds luck, or the NLL falls and lies below that of guessing. If the NLL of guessing
    is unknown, a falling NLL is enough.
    """
    if found.exact is not None and float(np.mean(found.exact[-_third(found.exact) :])) > found.exact_limit:
        return True
    if found.gain is not None and found.gain > LEARNED:
        return False
    return found.fall_p < SIGNIFICANCE


def shown_smooth(found: Evidence) -> bool:
    """Return whether the absence of a jump is a finding.

    It is one if the test has the power to find a jump, or if the fall is surely wide. It is also one if the
    test found a ramp too small to matter.
    """
    wrinkle = found.p is not None and found.p < SIGNIFICANCE and found.share < MATERIAL
    return found.power >= ENOUGH or found.lower > NARROW or wrinkle


def at_floor(exact: Array) -> bool:
    """Return whether exact match above chance never leaves its floor."""
    return bool(np.max(exact) < FLOOR)


def looks_sharp(exact: Array) -> bool:
    """Return whether exact match stays near its floor over the first third of the sizes and then rises."""
    top = float(np.max(exact))
    return top >= FLOOR and float(np.mean(exact[: _third(exact)])) < EARLY * top


def _third(values: Array) -> int:
    """Return a third of the number of sizes, but at least two: one size alone is too noisy a mean."""
    return max(len(values) // 3, 2)


def sentence(verdict: Verdict, found: Evidence) -> str:
    """Return the reason for a verdict, with the statistics."""
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
    """Return the share of positions that are effectively independent, in words."""
    if found.effective is None:
        return ""
    low, high = found.effective
    share = f"{low:.0%} to {high:.0%}" if round(100 * low) < round(100 * high) else f"about {low:.0%}"
    return f"an answer behaves as if {share} of its positions were independent and the others followed"
