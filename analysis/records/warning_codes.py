"""Warnings: named doubts about a fit or a study, each with its weight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a warning does to the numbers beside it, the gravest first."""

    BLOCKS = "blocks the quote"  # some number is not to be quoted
    WIDENS = "widens the interval"  # the truth may lie outside the interval
    NOTE = "note"  # the numbers stand


class WarningCode(StrEnum):
    """Stable codes of the warnings that a fit can carry; a report may not hide them."""

    FLAT_VALLEY = "flat_valley"  # alpha cannot be told from beta given their intervals
    ILL_CONDITIONED = "ill_conditioned"  # some combination of parameters is hardly determined
    ACTIVE_BOUND = "active_bound"  # a parameter sits at the end of its range
    COLLINEAR = "collinear"  # N and D (almost) proportional
    E_NOT_BRACKETED = "e_not_bracketed"  # E far below the lowest loss: not to be quoted
    FEW_SIZES = "few_sizes"
    FEW_TOKENS = "few_tokens"
    FEW_STARTS_AGREE = "few_starts_agree"  # many local minima
    FEW_CLUSTERS = "few_clusters"  # too few trunks to resample
    EXTRAPOLATION = "extrapolation"  # asked for more than 30 times the largest fitted compute
    ROUTES_DISAGREE = "routes_disagree"  # multi-start and variable projection end apart
    LAW_EXCLUDED = "law_excluded"  # all runs exclude the law that the fitted runs chose
    LACK_OF_FIT = "lack_of_fit"  # residuals larger than seed noise or with structure, or gamma other than 1
    EDGE_OPTIMUM = "edge_optimum"  # an IsoFLOP slice without an interior minimum
    FEW_BUDGETS = "few_budgets"
    ONE_AXIS = "one_axis"  # all runs of one size, or of one token count: no law in N and D
    INTERPOLATED = "interpolated"  # slices read off an interpolated rectangle of cells
    METHODS_DISAGREE = "methods_disagree"  # two readings of the same data differ
    APPROACHES_DISAGREE = "approaches_disagree"  # exponents further apart than their intervals say
    COUNTS_DISAGREE = "counts_disagree"  # the exponent depends on how N is counted
    FLOPS_APART = "flops_apart"  # C is far from 6·N·D in every row
    MIXED_CELLS = "mixed_cells"  # losses of equal N and D further apart than seeds
    UNTUNED_CELLS = "untuned_cells"  # rows of equal N and D differ in a setting, such as the learning rate
    TRAINING_LOG = "training_log"  # rows are steps of a few runs, not their ends
    UNPAIRED = "unpaired"  # two arms have too few cells in common
    NOISE_ASSUMED = "noise_assumed"  # too few repeated cells measure the noise of a comparison
    CONSTANT_RATIO = "constant_ratio"  # a design with one ratio D/N
    ONE_SIZE = "one_size"  # a design with one N
    SHORT_RANGE = "short_range"  # a design that covers too little of N, D or C
    BEYOND_LINEAR = "beyond_linear"  # a design leaves a parameter open: expected errors are not stated
    MOVING_DEPTH = "moving_depth"  # sizes differ in depth too, of which a law of N and D knows nothing
    LOSS_SCALE = "loss_scale"  # the loss looks like another scale than nats per token
    LOSS_LEVEL = "loss_level"  # losses far from those of language models of these sizes


@dataclass(frozen=True)
class FitWarning:
    """A named doubt about a fit or a study.

    Attributes:
        code: stable name of the doubt.
        message: the doubt in one sentence, with its numbers.
    """

    code: WarningCode
    message: str

    @property
    def severity(self) -> Severity:
        """What the warning does to the numbers beside it."""
        return SEVERITY[self.code]

    @property
    def line(self) -> str:
        """The warning as a line of a terminal."""
        return warning_line(self.code, self.message)


SEVERITY: dict[WarningCode, Severity] = {
    WarningCode.ONE_AXIS: Severity.BLOCKS,
    WarningCode.LOSS_SCALE: Severity.BLOCKS,
    WarningCode.TRAINING_LOG: Severity.BLOCKS,
    WarningCode.MIXED_CELLS: Severity.BLOCKS,
    WarningCode.FLOPS_APART: Severity.BLOCKS,
    WarningCode.LAW_EXCLUDED: Severity.BLOCKS,
    WarningCode.LACK_OF_FIT: Severity.BLOCKS,
    WarningCode.COLLINEAR: Severity.BLOCKS,
    WarningCode.ONE_SIZE: Severity.BLOCKS,
    WarningCode.CONSTANT_RATIO: Severity.BLOCKS,
    WarningCode.BEYOND_LINEAR: Severity.BLOCKS,
    WarningCode.UNPAIRED: Severity.BLOCKS,
    WarningCode.E_NOT_BRACKETED: Severity.BLOCKS,
    WarningCode.ACTIVE_BOUND: Severity.BLOCKS,
    WarningCode.EXTRAPOLATION: Severity.WIDENS,
    WarningCode.APPROACHES_DISAGREE: Severity.WIDENS,
    WarningCode.COUNTS_DISAGREE: Severity.WIDENS,
    WarningCode.MOVING_DEPTH: Severity.WIDENS,
    WarningCode.FEW_SIZES: Severity.WIDENS,
    WarningCode.FEW_TOKENS: Severity.WIDENS,
    WarningCode.SHORT_RANGE: Severity.WIDENS,
    WarningCode.FLAT_VALLEY: Severity.WIDENS,
    WarningCode.ILL_CONDITIONED: Severity.WIDENS,
    WarningCode.ROUTES_DISAGREE: Severity.WIDENS,
    WarningCode.FEW_STARTS_AGREE: Severity.WIDENS,
    WarningCode.FEW_CLUSTERS: Severity.WIDENS,
    WarningCode.UNTUNED_CELLS: Severity.WIDENS,
    WarningCode.NOISE_ASSUMED: Severity.WIDENS,
    WarningCode.METHODS_DISAGREE: Severity.WIDENS,
    WarningCode.EDGE_OPTIMUM: Severity.NOTE,
    WarningCode.FEW_BUDGETS: Severity.NOTE,
    WarningCode.INTERPOLATED: Severity.NOTE,
    WarningCode.LOSS_LEVEL: Severity.NOTE,
}


# Doubts about a whole table: nothing that is read off it is to be quoted before it is mended.
TABLE_WIDE = {
    WarningCode.LOSS_SCALE,
    WarningCode.TRAINING_LOG,
    WarningCode.MIXED_CELLS,
    WarningCode.FLOPS_APART,
}


AGAINST_E = frozenset({WarningCode.E_NOT_BRACKETED, WarningCode.ACTIVE_BOUND})  # E is not to be quoted


def warning_line(code: WarningCode, message: str, where: str = "") -> str:
    """Return a warning as a line of a terminal; `where` says which fits carry it.

    >>> warning_line(WarningCode.FEW_SIZES, "3 sizes", "row 2")
    'warning few_sizes (widens the interval; row 2): 3 sizes'
    """
    weight = SEVERITY[code]
    return f"warning {code} ({'; '.join(filter(None, (weight, where)))}): {message}"
