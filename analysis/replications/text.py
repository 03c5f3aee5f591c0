"""A study of replications as plain text, for the terminal and the lead of the report."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.contest.text import aligned
from analysis.records.replications import (
    CoverageRecord,
    HeldOutRecord,
    ParameterRecord,
    PartRecord,
    ReplicationsRecord,
    SpreadRecord,
)
from harness.records.number_text import DASH, given, in_percent, number, percent

SYMBOLS = {"a": "a, exact FLOPs", "a_6nd": "a under 6ND", "alpha": "alpha", "beta": "beta", "E": "E, nats"}
HELD_OUT = (
    "compute",
    "cells",
    "RMS error, %",
    "inside own",
    "inside others",
    "half-width, %",
    "widest/median",
    "interval score, %",
)
PARAMETERS = ("parameter", "n", "mean", "SD", "inside", "half-width", "widest/median", "interval score")


def text_of(found: ReplicationsRecord) -> str:
    """Return the study as text: a table of held-out losses and one of parameters, for each part."""
    lines = [*lead(found), ""]
    for part in found.parts:
        lines.append(f"{part_title(part, found)}: {len(part.replications)} replications")
        for head, rows in (
            (HELD_OUT, [held_out_row(row) for row in part.held_out]),
            (PARAMETERS, [parameter_row(row) for row in part.parameters]),
        ):
            lines += [f"  {line}" for line in aligned([head, *rows])] if rows else []
        lines.append("")
    lines += [f"left out: {each.name}: {each.reason}" for each in found.left_out]
    lines += [f"warning: {doubt}" for doubt in found.doubts]
    lines.append(
        f"median (quartiles) over replications; nominal share {percent(found.level, 0)}; shares with "
        f"{percent(found.level, 0)} intervals, replications as clusters"
    )
    return "\n".join(lines)


def part_title(part: PartRecord, found: ReplicationsRecord) -> str:
    """Return the title of a part."""
    titles = {
        "all": "all",
        "fixed": f"first {found.n_fixed}, rule fixed on them",
        "unseen": "unseen",
    }
    return titles[part.name]


def lead(found: ReplicationsRecord) -> list[str]:
    """Return the answer in up to three sentences, over the unseen replications if there are some."""
    part = found.judged
    n = len(part.replications)
    who = f"{n} {'unseen ' if part.name == 'unseen' else ''}replication{'' if n == 1 else 's'}"
    return [*_losses(part, who, found.level), *_exponents(part, who)]


def _losses(part: PartRecord, who: str, level: float) -> Iterator[str]:
    if not part.held_out:
        yield f"In {who} nothing was held out, so no forecast was put to the test."
        return
    whole, far = part.held_out[0], part.held_out[-1]
    beyond = (
        f", and by {in_percent(far.rms_percent.median)} at ≥ {far.at_least:g}× compute"
        if far is not whole
        else ""
    )
    yield (
        f"In the median of {who} the sealed forecast of {whole.n_cells} held-out cells was off by "
        f"{in_percent(whole.rms_percent.median)} RMS (quartiles {_ends(whole.rms_percent)}){beyond}."
    )
    of_far = f", at ≥ {far.at_least:g}× {share(far.coverage)}" if far is not whole else ""
    yield (
        f"Of {whole.coverage.n} losses {share(whole.coverage)} lie inside their {percent(level, 0)} "
        f"intervals{of_far}. The mean interval score is {in_percent(whole.interval_score.mean)}, and the "
        f"widest interval of a cell is at most {number(whole.widest_over_median, 1)} times its median."
    )


def _exponents(part: PartRecord, who: str) -> Iterator[str]:
    judged = [row for row in part.parameters if row.coverage.n]
    if judged:
        shares = ", ".join(
            f"{SYMBOLS[row.name].split(',')[0]} {row.coverage.inside} of {row.coverage.n}" for row in judged
        )
        yield f"Intervals that hold the mean of the other replications, over {who}: {shares}."


def share(found: CoverageRecord) -> str:
    """Return a share with its interval, in per cent."""
    if found.share is None or found.interval is None:
        return DASH
    low, high = found.interval
    return f"{percent(found.share, 0)} [{100 * low:.0f}, {100 * high:.0f}]"


def held_out_row(row: HeldOutRecord) -> tuple[str, ...]:
    """Return the texts of a row on held-out losses."""
    return (
        "all" if row.at_least <= 1 else f"≥ {row.at_least:g}×",
        str(row.n_cells),
        middle(row.rms_percent, 2),
        share(row.coverage),
        share(row.coverage_of_others),
        middle(row.half_width_percent, 2),
        number(row.widest_over_median, 1),
        number(row.interval_score.mean, 2),
    )


def parameter_row(row: ParameterRecord) -> tuple[str, ...]:
    """Return the texts of a row on a parameter."""
    return (
        SYMBOLS[row.name],
        str(row.n),
        number(row.mean),
        number(row.sd),
        share(row.coverage),
        middle(row.half_width, 3),
        number(row.widest_over_median, 1),
        number(row.interval_score.mean if row.interval_score else None),
    )


def middle(found: SpreadRecord | None, digits: int) -> str:
    """Return the median with the quartiles."""
    return DASH if found is None else f"{number(found.median, digits)} ({_ends(found, digits)})"


def _ends(found: SpreadRecord, digits: int = 2) -> str:
    low, high = found.quartiles
    return f"{number(low, digits)}–{number(high, digits)}"


def seconds_of(found: ReplicationsRecord) -> float | None:
    """Return the median wall-clock seconds of a replication; None if unknown."""
    known = sorted(each.seconds for each in found.replications if given(each.seconds))
    return known[len(known) // 2] if known else None
