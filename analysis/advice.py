"""What to do about a warning: words and a remedy for each kind, and the command to type if there is one."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.records.fit import COUNTS
from analysis.records.warning_codes import SEVERITY, FitWarning, Severity, WarningCode
from harness.records.command_line import as_typed
from harness.records.paths import SweepFolder

FOREMOST = 3  # warnings that a reader sees without a click, and remedies that a terminal prints
CELLS = 4  # that a command asks for
AHEAD = 10.0  # times the largest compute: the run ahead, if nobody names one

# Options of a command that say how a table is read: the names of their values, and what these are by default.
READ_BY = {
    "--map": ("mapping", None),
    "--scale": ("scale", None),
    "--where": ("where", None),
    "--loss": ("loss", "loss"),
    "--loss-is": ("loss_is", None),
    "--count": ("count", COUNTS[0]),
}


@dataclass(frozen=True)
class Source:
    """Where the runs behind a warning come from.

    Attributes:
        typed: the table as a command names it: `results/NAME`, or a file with the options that read it.
        is_sweep: whether it is a sweep, whose runs the harness trains.
        largest: largest compute of a run, FLOPs; None if the runs tell no law in N and D.
        target: compute of the run ahead that further cells are chosen for, FLOPs; by default AHEAD × largest.
    """

    typed: str
    is_sweep: bool
    largest: float | None
    target: float | None = None

    @classmethod
    def sweep(cls, folder: Path, largest: float | None, target: float | None = None) -> Source:
        """Return the source of the runs of a sweep."""
        return cls(shlex.quote(str(folder)), True, largest, target)

    @classmethod
    def of(cls, arguments: argparse.Namespace, largest: float | None, target: float | None = None) -> Source:
        """Return the source of the runs that a command read: a sweep, or the table with its options."""
        path: Path = arguments.table
        if path.is_dir():
            return cls.sweep(path, largest, target)
        folder = SweepFolder(path.parent)
        if folder.points == path and folder.sweep.exists():
            return cls.sweep(path.parent, largest, target)
        words = [str(path)]
        for option, (name, usual) in READ_BY.items():
            value = getattr(arguments, name, usual)
            # The loss that `analysis.plan` is asked for is a number and no column.
            if isinstance(value, str) and value != usual:
                words += [option, value]
        return cls(shlex.join(words), False, largest, target)


@dataclass(frozen=True)
class Advice:
    """A kind of warning for a reader who does not know its code.

    Attributes:
        words: what is in doubt.
        remedy: what to do.
        more_cells: whether cells that `analysis.design` chooses are the remedy.
        grid: grid of a sweep that is the remedy.
    """

    words: str
    remedy: str
    more_cells: bool = False
    grid: str | None = None

    def command(self, source: Source | None) -> str | None:
        """Return the command that the remedy asks for; None if there is none for this source.

        It is `python -m …` however this process was started, because reports hold it. A report is sent to
        people who installed the package in another way, or not at all. What only this terminal shows goes
        through `as_typed` (`next_steps`).
        """
        if source is None:
            return None
        if self.more_cells and source.largest is not None:
            target = AHEAD * source.largest if source.target is None else source.target
            wanted = f"--spend {source.largest:.2g} --target {target:.3g}".replace("e+", "e")
            more = f"--next {CELLS} {wanted}"
            out = "more.yaml" if source.is_sweep else "more.csv"
            return f"python -m analysis.design {source.typed} {more} --out {out}"
        if self.grid is not None and source.is_sweep:
            return f"python -m harness.sweep +grid={self.grid}"
        return None


# In the order of their gravity: the first of them are those that are shown without a click.
ADVICE: dict[WarningCode, Advice] = {
    WarningCode.ONE_AXIS: Advice(
        "These runs cannot say how to divide compute between size and data",
        "train several sizes and several token counts",
        grid="chinchilla",
    ),
    WarningCode.LOSS_SCALE: Advice(
        "The loss does not look like nats per token",
        "state the scale of the loss first: --loss-is perplexity, bits_per_token, bits_per_byte=4.2 or nats",
    ),
    WarningCode.TRAINING_LOG: Advice(
        "The rows look like steps of a few runs, not like their ends",
        "keep the last row of each run, by --where COLUMN=VALUE if a column marks it",
    ),
    WarningCode.MIXED_CELLS: Advice(
        "Runs of the same size and data differ by more than seeds do",
        "look for a setting that differs between them, and fit one at a time: --where COLUMN=VALUE",
    ),
    WarningCode.FLOPS_APART: Advice(
        "The FLOPs of the table are far from 6·N·D",
        "check the unit of each column and what N counts (--scale, --map), or leave C out: --map C=",
    ),
    WarningCode.LAW_EXCLUDED: Advice(
        "All runs exclude the law that the fitted runs had chosen",
        "quote what is stated over the laws, and no number of that law alone",
    ),
    WarningCode.LACK_OF_FIT: Advice(
        "The law does not describe these runs",
        "use it as a summary of these runs, and do not extrapolate with it",
    ),
    WarningCode.COLLINEAR: Advice(
        "Size and data grow together in these runs",
        "add runs off that line: small models on many tokens, large ones on few",
        grid="chinchilla",
    ),
    WarningCode.ONE_SIZE: Advice(
        "All cells of the design have one size", "add a second and a third size", grid="chinchilla"
    ),
    WarningCode.CONSTANT_RATIO: Advice(
        "The design has one ratio of tokens to parameters, or tokens that follow the size",
        "add cells with other token counts at two or more sizes",
        grid="chinchilla",
    ),
    WarningCode.BEYOND_LINEAR: Advice(
        "The design leaves a parameter of the law open",
        "add cells before a standard error is stated",
        more_cells=True,
    ),
    WarningCode.UNPAIRED: Advice(
        "Arms were compared without pairs of runs, or could not be compared",
        "train them on the same sizes, token counts and seeds",
        grid="compare",
    ),
    WarningCode.E_NOT_BRACKETED: Advice(
        "The irreducible loss E is a guess",
        "do not quote E; longer training of the largest sizes would bring the losses closer to it",
        more_cells=True,
    ),
    WarningCode.ACTIVE_BOUND: Advice(
        "A parameter ended at the limit that it was allowed",
        "do not quote that parameter; widen its range, as in joint[gamma=0.1:0.9], or use another law",
    ),
    WarningCode.EXTRAPOLATION: Advice(
        "The budget lies far beyond every run",
        "train larger runs before money depends on the answer",
        more_cells=True,
    ),
    WarningCode.APPROACHES_DISAGREE: Advice(
        "Other ways to read the same runs give another exponent",
        "quote the exponent with the range over approaches, not with its own interval alone",
    ),
    WarningCode.COUNTS_DISAGREE: Advice(
        "The exponent depends on which parameters N counts",
        "say what N counts wherever the exponent is quoted, and compare equal counts only",
    ),
    WarningCode.MOVING_DEPTH: Advice(
        "Depth moves with size, and the laws know nothing of shape",
        "forecast only shapes of the same rule, and compare with a sweep of one depth (analysis.same_law)",
    ),
    WarningCode.FEW_SIZES: Advice(
        "The model sizes are too few or too close together",
        "add smaller or larger sizes before the exponent of N is trusted",
        more_cells=True,
    ),
    WarningCode.FEW_TOKENS: Advice(
        "The token counts are too few or too close together",
        "add shorter or longer runs before the exponent of D is trusted",
        more_cells=True,
    ),
    WarningCode.SHORT_RANGE: Advice(
        "The design covers a short range of size, tokens or compute",
        "spread sizes and token counts further apart",
        more_cells=True,
    ),
    WarningCode.FLAT_VALLEY: Advice(
        "The runs do not tell the exponent of size from that of data",
        "do not carry the best size far: train cells with other tokens per parameter, or more seeds",
        more_cells=True,
    ),
    WarningCode.ILL_CONDITIONED: Advice(
        "Some parameters can be traded for each other",
        "do not interpret single coefficients; predictions within the range of the runs are less affected",
        more_cells=True,
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
        "train more sizes or seeds",
        more_cells=True,
    ),
    WarningCode.UNTUNED_CELLS: Advice(
        "Runs of the same size and data differ in a setting such as the learning rate",
        "keep the best run of each cell, or fit one setting at a time",
    ),
    WarningCode.NOISE_ASSUMED: Advice(
        "The noise of a comparison of arms is assumed, not measured",
        "train two or more seeds of each arm before a difference between arms is believed",
    ),
    WarningCode.METHODS_DISAGREE: Advice(
        "Two readings of the same curves differ",
        "take the difference as part of the uncertainty",
    ),
    WarningCode.EDGE_OPTIMUM: Advice(
        "The best value lies at or beyond the edge of what was tried, or within noise",
        "try values beyond that edge; until then such an optimum is left out",
    ),
    WarningCode.FEW_BUDGETS: Advice(
        "Too few budgets have a best size of their own",
        "add budgets, or sizes on both sides of the best one",
        grid="isoflop",
    ),
    WarningCode.INTERPOLATED: Advice(
        "The slices of equal compute were interpolated between runs",
        "train the slices themselves, which measures them",
        grid="isoflop",
    ),
    WarningCode.LOSS_LEVEL: Advice(
        "The losses are far from those of language models of these sizes",
        "say in which scale they are: --loss-is nats, perplexity, bits_per_token or bits_per_byte=4.2",
    ),
}


def by_gravity(codes: Iterable[WarningCode]) -> list[WarningCode]:
    """Return kinds of warnings, each once, the gravest first."""
    order = list(ADVICE)
    return sorted(set(codes), key=order.index)


def next_steps(warnings: Sequence[FitWarning], source: Source) -> list[str]:
    """Return what to do about the gravest warnings as lines of a terminal, each remedy once.

    Warnings that leave the numbers as they are ask for nothing.
    """
    codes = by_gravity(warning.code for warning in warnings)
    grave = [code for code in codes if SEVERITY[code] is not Severity.NOTE][:FOREMOST]
    commands = dict.fromkeys(ADVICE[code].command(source) for code in grave)
    lines = []
    for command in commands:
        asking = [code for code in grave if ADVICE[code].command(source) == command]
        if command is None:
            lines += [f"to do about {code}: {ADVICE[code].remedy}" for code in asking]
        else:
            lines.append(f"to do about {', '.join(asking)}: {as_typed(command)}")
    return lines
