"""Warnings of a report: each once, in words, with what to do about it, the gravest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.laws import family
from analysis.records.fit import FitRecord, FitWarning, WarningCode

COUNT_WORDS = {"n_params_matmul": "body + head", "n_params_body": "body only", "n_params": "all"}
UNFOLDED = 3  # warnings that a reader sees without a click


@dataclass(frozen=True)
class Advice:
    """A kind of warning for a reader who does not know its code.

    Attributes:
        words: what is in doubt.
        remedy: what to do.
    """

    words: str
    remedy: str


# In the order of their gravity: the first of them are those that are shown without a click.
ADVICE: dict[WarningCode, Advice] = {
    WarningCode.ONE_AXIS: Advice(
        "These runs cannot say how to divide compute between size and data",
        "train several sizes and several token counts, as +grid=chinchilla does",
    ),
    WarningCode.LOSS_SCALE: Advice(
        "The loss does not look like nats per token",
        "check its unit and scale before anything else",
    ),
    WarningCode.TRAINING_LOG: Advice(
        "The rows look like steps of a few runs, not like their ends",
        "keep the last row of each run, or name the column of the run as the cluster",
    ),
    WarningCode.LACK_OF_FIT: Advice(
        "The law does not describe these runs",
        "use it as a summary of these runs, and do not extrapolate with it",
    ),
    WarningCode.NOISE_ASSUMED: Advice(
        "The noise of a comparison of arms is assumed, not measured",
        "train two or more seeds (grid.seeds) before a difference between arms is believed",
    ),
    WarningCode.UNPAIRED: Advice(
        "Arms were compared without pairs of runs, or could not be compared",
        "train them on the same sizes, token counts and seeds, as grid.arms does",
    ),
    WarningCode.E_NOT_BRACKETED: Advice(
        "The irreducible loss E is a guess",
        "do not quote E; longer training of the largest sizes would bring the losses closer to it",
    ),
    WarningCode.ACTIVE_BOUND: Advice(
        "A parameter ended at the limit that it was allowed",
        "do not quote that parameter; widen its range, as in joint[gamma=0.1:0.9], or use another law",
    ),
    WarningCode.EXTRAPOLATION: Advice(
        "The budget lies far beyond every run",
        "train larger runs before money depends on the answer",
    ),
    WarningCode.APPROACHES_DISAGREE: Advice(
        "Other ways to read the same runs give another exponent",
        "quote the exponent with the range over approaches, not with its own interval alone",
    ),
    WarningCode.COUNTS_DISAGREE: Advice(
        "The exponent depends on which parameters N counts",
        "say what N counts wherever the exponent is quoted, and compare equal counts only",
    ),
    WarningCode.ONE_SIZE: Advice(
        "All cells of the design have one size",
        "add a second and a third size (grid.rungs)",
    ),
    WarningCode.CONSTANT_RATIO: Advice(
        "The design has one ratio of tokens to parameters, or tokens that follow the size",
        "add cells with other token counts at two or more sizes (grid.n_tokens)",
    ),
    WarningCode.SHORT_RANGE: Advice(
        "The design covers a short range of size, tokens or compute",
        "spread sizes and token counts further apart (grid.rungs, grid.n_tokens)",
    ),
    WarningCode.BEYOND_LINEAR: Advice(
        "The design leaves a parameter of the law open",
        "add the cells that analysis.design chooses before a standard error is stated",
    ),
    WarningCode.FEW_SIZES: Advice(
        "The model sizes are too few or too close together",
        "add smaller or larger rungs (grid.rungs) before the exponent of N is trusted",
    ),
    WarningCode.FEW_TOKENS: Advice(
        "The token counts are too few or too close together",
        "add shorter or longer runs (grid.n_tokens) before the exponent of D is trusted",
    ),
    WarningCode.COLLINEAR: Advice(
        "Size and data grow together in these runs",
        "add runs off that line: small models on many tokens, large ones on few",
    ),
    WarningCode.FLAT_VALLEY: Advice(
        "The runs do not tell the exponent of size from that of data",
        "do not carry the best size far: train cells with other tokens per parameter, or more seeds",
    ),
    WarningCode.ILL_CONDITIONED: Advice(
        "Some parameters can be traded for each other",
        "do not interpret single coefficients; predictions within the range of the runs are less affected",
    ),
    WarningCode.ROUTES_DISAGREE: Advice(
        "Two searches for the best fit ended in different places",
        "read the values as uncertain by the difference of the two",
    ),
    WarningCode.FEW_STARTS_AGREE: Advice(
        "The search for the best fit has many ends",
        "compare with a law of fewer parameters",
    ),
    WarningCode.FEW_CLUSTERS: Advice(
        "Too few independent runs for intervals",
        "train more sizes or seeds (grid.seeds)",
    ),
    WarningCode.MIXED_CELLS: Advice(
        "Runs of the same size and data differ by more than seeds do",
        "look for a setting that differs between them, and fit one setting at a time",
    ),
    WarningCode.UNTUNED_CELLS: Advice(
        "Runs of the same size and data differ in a setting such as the learning rate",
        "keep the best run of each cell, or fit one setting at a time",
    ),
    WarningCode.FLOPS_APART: Advice(
        "The FLOPs of the table are far from 6·N·D",
        "check the unit of each column, and what N counts",
    ),
    WarningCode.EDGE_OPTIMUM: Advice(
        "The best value lies at or beyond the edge of what was tried, or within noise",
        "try values beyond that edge; until then such an optimum is left out",
    ),
    WarningCode.FEW_BUDGETS: Advice(
        "Too few budgets have a best size of their own",
        "add budgets, or sizes on both sides of the best one",
    ),
    WarningCode.INTERPOLATED: Advice(
        "The slices of equal compute were interpolated between runs",
        "train +grid=isoflop, which measures them",
    ),
    WarningCode.METHODS_DISAGREE: Advice(
        "Two readings of the same curves differ",
        "take the difference as part of the uncertainty",
    ),
}


@dataclass(frozen=True)
class Doubt:
    """One kind of warning with everything that raised it.

    Attributes:
        code: its stable name.
        messages: messages with their numbers, each with the other fits that carry it.
    """

    code: WarningCode
    messages: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def advice(self) -> Advice:
        """What is in doubt, and what to do."""
        return ADVICE[self.code]


def own_doubts(warnings: Sequence[FitWarning], quoted: FitRecord | None) -> list[Doubt]:
    """Return the warnings about the whole and about the recommended fit, each once, by kind."""
    return _by_kind({warning: [] for warning in _own(warnings, quoted)})


def other_doubts(
    warnings: Sequence[FitWarning], quoted: FitRecord | None, fits: Sequence[FitRecord]
) -> list[Doubt]:
    """Return the warnings that only other fits raise, each once, by kind."""
    own = _own(warnings, quoted)
    carriers: dict[FitWarning, list[str]] = {}
    for fit in fits:
        for warning in fit.warnings:
            if warning not in own:
                carriers.setdefault(warning, []).append(_label(fit))
    return _by_kind(carriers)


def _own(warnings: Sequence[FitWarning], quoted: FitRecord | None) -> list[FitWarning]:
    return list(dict.fromkeys((*warnings, *(quoted.warnings if quoted else ()))))


def _by_kind(carriers: Mapping[FitWarning, Sequence[str]]) -> list[Doubt]:
    """Return one doubt a kind, the gravest first; `carriers` maps a warning to the fits that raise it."""
    order = list(ADVICE)
    codes = sorted({warning.code for warning in carriers}, key=order.index)
    return [
        Doubt(
            code,
            tuple(
                (w.message, tuple(dict.fromkeys(names))) for w, names in carriers.items() if w.code == code
            ),
        )
        for code in codes
    ]


def _label(fit: FitRecord) -> str:
    name = family(fit.law) if fit.approach in ("parametric", "kaplan") else fit.approach
    return f"{name}, N {COUNT_WORDS.get(fit.count, fit.count)}"
