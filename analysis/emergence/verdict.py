"""Rules that turn the statistics of a task into a verdict, and the sentence that gives the reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from analysis.emergence.statistics.power import ENOUGH, HELD
from analysis.emergence.statistics.sharpness import JUMP, MIN_SIZES, SIGNIFICANCE
from analysis.emergence.statistics.width import NARROW
from analysis.records.emergence import SMOOTH_ONLY, Verdict

LEARNED = 0.98  # ratio to the NLL of guessing above which nothing is learned
FLOOR = 0.05  # exact match above chance that counts as having left its floor
EARLY = 0.1  # largest share of its rise that a sharp-looking curve makes in the first third of the sizes
MATERIAL = 0.2  # share of the fall below which a jump is a wrinkle, however significant
DEPENDENT = 0.5  # errors are dependent if L positions count as fewer than L/2 effective ones or more than 2·L
# Verdicts under which the fitted curves may be extrapolated to larger models.
EXTRAPOLATES = (Verdict.SMOOTH, Verdict.METRIC_ARTEFACT, Verdict.DEPENDENT_ERRORS)


@dataclass(frozen=True)
class Evidence:
    """Statistics that the rules of a verdict compare.

    Attributes:
        n_sizes: number of sizes.
        p: Holm-corrected p-value of the sup-F test; None if there was no test.
        p_alone: the p-value before the correction.
        height: height of the best jump in ln NLL.
        share: its share of the whole fall.
        lower: one-sided 95 % lower limit of the 10–90 % width, decades; NaN if nothing falls.
        upper: one-sided 95 % upper limit, decades; ∞ if it is unbounded.
        onset: whether the fall is slower at the smallest sizes than later.
        largest: share of the fall in the largest jump of JUMP decades that the sizes allow; None if unknown.
        power: power of the sup-F test against a jump of JUMP decades that holds two thirds of the fall.
        fall_p: one-sided p-value of the slope of ln NLL.
        gain: mean NLL of the largest third of the sizes over that of guessing; None if unknown.
        exact: exact match by size minus chance; None if the task has none.
        exact_limit: exact match above chance that luck does not reach.
        effective: interval of effective over actual positions; None without item-level results.
    """

    n_sizes: int
    p: float | None
    p_alone: float | None
    height: float
    share: float
    lower: float
    upper: float
    onset: bool
    largest: float | None
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
    if jumps(found):
        if found.upper >= NARROW:
            return Verdict.DELAYED_ONSET if found.lower > NARROW else Verdict.WIDTH_UNRESOLVED
        seen = found.exact is not None and not at_floor(found.exact)
        return Verdict.TRANSITION if seen else Verdict.UNSEEN_TRANSITION
    if doubtful(found):
        return Verdict.INCONCLUSIVE
    if found.exact is not None and at_floor(found.exact) and found.fall_p < SIGNIFICANCE:
        return Verdict.BELOW_RESOLUTION
    if not shown_smooth(found):
        return Verdict.INCONCLUSIVE
    if found.exact is None:
        return Verdict.SMOOTH
    if found.effective and (found.effective[1] < DEPENDENT or found.effective[0] > 1 / DEPENDENT):
        return Verdict.DEPENDENT_ERRORS
    if not looks_sharp(found.exact):
        return Verdict.SMOOTH
    # A wrinkle is too small to be a jump, but "no jump in the smooth metric" would be wrong too.
    return Verdict.INCONCLUSIVE if significant(found) else Verdict.METRIC_ARTEFACT


def significant(found: Evidence) -> bool:
    """Return whether the sup-F test rejects every smooth law for a metric that falls as a whole."""
    return found.p is not None and max(found.p, found.fall_p) < SIGNIFICANCE


def jumps(found: Evidence) -> bool:
    """Return whether there is a jump, sharp or gradual: significant, large enough, and not from the start.

    A jump that is surely gradual must set in late: else the curve is none of the smooth laws, no more.
    """
    if not significant(found) or found.share < MATERIAL:
        return False
    return found.onset or not found.lower > NARROW


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


def doubtful(found: Evidence) -> bool:
    """Return whether the jump would be significant if this were the only task; no absence is shown then."""
    return not significant(found) and found.p_alone is not None and found.p_alone < SIGNIFICANCE


def shown_smooth(found: Evidence) -> bool:
    """Return whether the absence of a jump is a finding.

    It is one if the test has the power to find a jump, or if a jump of two thirds of the fall is excluded.
    It is also one if the test found something that is no jump.
    """
    excluded = found.largest is not None and found.largest < HELD
    return found.power >= ENOUGH or excluded or significant(found)


def at_floor(exact: Array) -> bool:
    """Return whether exact match above chance never leaves its floor."""
    return bool(np.max(exact) < FLOOR)


def looks_sharp(exact: Array) -> bool:
    """Return whether exact match stays near its floor over the first third of the sizes and then rises."""
    top = float(np.max(exact))
    return top >= FLOOR and float(np.mean(exact[: _third(exact)])) < EARLY * top


def label_of(verdict: Verdict, has_exact: bool) -> str:
    """Return the verdict in words, without claims about exact match if it was not measured."""
    return verdict.label if has_exact else SMOOTH_ONLY.get(verdict, verdict.label)


def _third(values: Array) -> int:
    """Return a third of the number of sizes, but at least two: one size alone is too noisy a mean."""
    return max(len(values) // 3, 2)


def sentence(verdict: Verdict, found: Evidence) -> str:
    """Return the reason for a verdict, with the statistics."""
    if verdict is Verdict.TOO_FEW_SIZES:
        return f"{found.n_sizes} sizes; the test for a jump needs {MIN_SIZES}."
    test, jump = _test_words(found), _jump_words(found)
    unseen = "exact match was not measured" if found.exact is None else f"exact match stays below {FLOOR:g}"
    return {
        Verdict.NOT_LEARNED: "The largest models do no better than a guesser.",
        Verdict.SMOOTH: f"No jump in the smooth metric ({test}).",
        Verdict.METRIC_ARTEFACT: (
            f"Exact match stays near its floor, then rises; the smooth metric has no jump ({test})."
        ),
        Verdict.DEPENDENT_ERRORS: f"No jump in the smooth metric ({test}); {_effective(found)}.",
        Verdict.BELOW_RESOLUTION: (
            f"The smooth metric improves (p {found.fall_p:.2g}) where exact match stays below "
            f"{FLOOR:g}: too coarse to show it ({test})."
        ),
        Verdict.DELAYED_ONSET: (
            f"The smooth metric first falls slowly and then faster ({test}), but over more than "
            f"{NARROW:g} decades: {jump}."
        ),
        Verdict.WIDTH_UNRESOLVED: (
            f"No smooth law describes the smooth metric ({test}); whether its jump is narrower than "
            f"{NARROW:g} decades these sizes do not tell: {jump}."
        ),
        Verdict.TRANSITION: f"The smooth metric itself falls in a narrow jump ({test}): {jump}.",
        Verdict.UNSEEN_TRANSITION: (f"The smooth metric falls in a narrow jump ({test}): {jump}; {unseen}."),
        Verdict.INCONCLUSIVE: _open_words(found),
    }[verdict]


def _test_words(found: Evidence) -> str:
    """Return the test in words, and if it found nothing what it could have found."""
    if significant(found):
        wrinkle = (
            "" if jumps(found) else f", but in a step of {found.share:.0%} of the fall, which is no jump"
        )
        return f"p {found.p:.2g} after Holm's correction{wrinkle}"
    alone = ""
    if found.p_alone is not None and found.p_alone < SIGNIFICANCE:
        alone = f", {found.p_alone:.2g} before it"
    limit = ""
    if found.largest is not None and found.largest < 1:
        limit = f", and one with more than {found.largest:.0%} is excluded"
    return (
        f"p {found.p:.2g} after Holm's correction{alone}; a jump of {JUMP:g} decades with two thirds of the "
        f"fall would be seen in {found.power:.0%} of cases{limit}"
    )


def _jump_words(found: Evidence) -> str:
    """Return height and width of the best jump."""
    high = f"{found.upper:.2g}" if np.isfinite(found.upper) else "∞"
    return (
        f"{found.height:.2g} in ln NLL, {found.share:.0%} of the fall, with 95 % limits of the 10–90 % width "
        f"of {found.lower:.2g} to {high} decades"
    )


def _open_words(found: Evidence) -> str:
    """Return the reason why there is no verdict."""
    if significant(found):
        return (
            f"Exact match stays near its floor, then rises, and the smooth metric is not quite smooth "
            f"({_test_words(found)})."
        )
    return f"No jump was found, but one could have been missed ({_test_words(found)})."


def _effective(found: Evidence) -> str:
    """Return the share of positions that are effectively independent, in words."""
    if found.effective is None:
        return ""
    low, high = found.effective
    share = f"{low:.0%} to {high:.0%}" if round(100 * low) < round(100 * high) else f"about {low:.0%}"
    return f"an answer behaves as if {share} of its positions were independent and the others followed"
