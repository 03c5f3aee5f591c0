"""Comparison of two arms in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.compare.calibrate import Calibration
from analysis.records.comparison import ComparisonRecord, MultiplierRow, NoiseSource
from analysis.records.warning_codes import Severity
from harness.records.number_text import decimals, estimate, in_percent, percent, power_of_ten

NOISE = {
    NoiseSource.SEEDS: "measured between seeds",
    NoiseSource.SCATTER: "from the scatter of single pairs around the plane",
    NoiseSource.MISSED: "with what the plane misses",
    NoiseSource.GIVEN: "as given",
    NoiseSource.ASSUMED: "assumed",
}
COLUMNS = ("C, FLOPs", "compute", "tokens", "parameters", "P(better)")
LARGEST = 99.0  # multipliers from here on are said to be beyond


def text_of(found: ComparisonRecord) -> str:
    """Return the comparison as lines: the runs, multipliers by budget, what is seen of it, and doubts."""
    doubts = [each.line for each in found.warnings]
    return "\n".join([*lines_of(found), f"verdict: {verdict(found)}", *doubts])


def lines_of(found: ComparisonRecord) -> list[str]:
    """Return the runs, multipliers by budget, the noise, and what more seeds would show."""
    rows = [*found.rows, *([found.target] if found.target else [])]
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(COLUMNS))]
    table = [
        "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return [runs_line(found), shift_line(found), *table, noise_line(found), seeds_line(found)]


def runs_line(found: ComparisonRecord) -> str:
    """Return what was compared: pairs, cells, and by how much the arms differ in size and cost."""
    if not found.n_pairs:
        one, two = found.n_runs
        return f"{found.second} against {found.first}: {two} and {one} runs, without pairs"
    how = "of the same seed" if found.by_seed else "of the same cell"
    size, cost = (span(ratio) for ratio in (found.size_ratio, found.cost_ratio))
    return (
        f"{found.second} against {found.first}: {found.n_pairs} pairs of runs {how} in {found.n_cells} "
        f"cells; N of {found.second} × {size}, FLOPs per token × {cost}"
    )


def span(ratio: tuple[float, float] | None) -> str:
    """Return the smallest and the largest of quotients; a question mark without pairs."""
    if ratio is None:
        return "?"
    low, high = (f"{end:.3f}" for end in ratio)
    return low if low == high else f"{low} to {high}"


def shift_line(found: ComparisonRecord) -> str:
    """Return the mean difference of the loss at equal N and D."""
    # In per cent of the loss, of which the record has the logarithm.
    value, low, high = (float(100 * np.expm1(each)) for each in (found.shift, *found.shift_interval))
    return f"loss of {found.second} at equal N and D: {estimate(value, (low, high), 2)} %"


def _cells(row: MultiplierRow) -> tuple[str, ...]:
    return (
        power_of_ten(row.flops),
        spelled(row.compute, row.compute_interval),
        spelled(row.tokens, row.tokens_interval),
        spelled(row.params, row.params_interval),
        percent(row.p_better, 0),
    )


def spelled(value: float, interval: tuple[float, float]) -> str:
    """Return a multiplier with its interval; one beyond what is looked for as a bound."""
    low, high = interval
    if value >= LARGEST:
        return f"above {LARGEST:.0f}"
    if value <= 1 / LARGEST:
        return f"below 1/{LARGEST:.0f}"
    upper = "∞" if high >= LARGEST else decimals(high, 3)
    return f"{decimals(value, 3)} [{'0' if low <= 1 / LARGEST else decimals(low, 3)}, {upper}]"


def noise_line(found: ComparisonRecord) -> str:
    """Return the noise of a pair and the least multiplier that the runs show."""
    dof = "" if found.noise.dof is None else f", {found.noise.dof} degrees of freedom"
    what = "two runs of a cell differ" if found.n_pairs else "a run scatters"
    return (
        f"noise: {what} by {in_percent(100 * found.noise.sd)} ({NOISE[found.noise.source]}{dof}); a "
        f"multiplier of {decimals(found.floor, 3)} or more would be shown with probability {found.power:g}"
    )


def seeds_line(found: ComparisonRecord) -> str:
    """Return how many seeds of each cell would show small multipliers."""
    parts = [
        f"{each.multiplier:g} takes {'more than 1000' if each.seeds is None else each.seeds}"
        for each in found.seeds
    ]
    return f"seeds of each cell and arm: {', '.join(parts)} (now {found.n_seeds:.3g})"


def verdict(found: ComparisonRecord) -> str:
    """Return in a sentence which arm is better at the largest measured budget, if the runs say so.

    A warning that blocks the quote stands in the sentence.
    """
    top = found.top
    at = f"at {power_of_ten(top.flops)} FLOPs"
    times = spelled(top.compute, top.compute_interval)
    need = f"{found.first} needs {times} times the compute of {found.second}"
    blocks = dict.fromkeys(each.code for each in found.warnings if each.severity is Severity.BLOCKS)
    doubt = f", but this is not to be quoted ({', '.join(blocks)})" if blocks else ""
    if not top.differs:
        return f"No difference between {found.second} and {found.first} is shown {at}{doubt}: {need}."
    better, worse = (found.second, found.first) if top.compute > 1 else (found.first, found.second)
    how = "looks" if blocks else "is"
    return f"{better} {how} better than {worse} {at}{doubt}: {need}."


def calibration_text(found: Calibration) -> str:
    """Return how often one recipe was said to differ from itself."""
    low, high = found.interval
    lines = [
        f"{row.first} against {row.second}: {spelled(row.top.compute, row.top.compute_interval)}"
        f"{'  differs' if row.top.differs else ''}"
        for row in found.rows
    ]
    return "\n".join(
        [
            *lines,
            f"{found.differ} of {len(found.rows)} comparisons of one recipe with itself are said to differ: "
            f"{percent(found.share, 0)} [{percent(low, 0)}, {percent(high, 0)}]; "
            f"{percent(1 - found.level, 0)} were expected",
        ]
    )


def texts_of(found: Sequence[ComparisonRecord]) -> str:
    """Return all comparisons, a blank line between them."""
    return "\n\n".join(text_of(each) for each in found)


def arms_text(found: Sequence[ComparisonRecord]) -> str:
    """Return all comparisons without doubts and verdicts, which the end of a sweep prints with others."""
    return "\n".join(line for each in found for line in lines_of(each))
