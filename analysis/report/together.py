"""The report of several sweeps: key numbers side by side, differences with intervals, one law or several."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from analysis import plots
from analysis.arrays import Interval
from analysis.contest.agreement import RESAMPLES, compare_laws
from analysis.explorer.page import NOTHING, rounded
from analysis.explorer.sections.figure import with_figures
from analysis.explorer.sections.several import one_of_several, several_data, several_figure
from analysis.intervals import LEVEL
from analysis.records.averages import AveragedQuantity, AveragedRecord
from analysis.records.frontier import FrontierRow
from analysis.report.build import AVERAGE_WORDS, Sweep, read_sweep, svg_width
from analysis.report.environment import page_environment
from analysis.report.lead import answer
from analysis.report.live import LivePage, live_page
from analysis.report.reach import reachable
from analysis.same_law import check_same_text, text_of
from analysis.summary import key_numbers, over_laws
from analysis.tables.table import LossTable, load_table
from harness.records.errors import InputError
from harness.records.files import write_atomic
from harness.records.number_text import DASH, estimate, power_of_ten, si
from harness.records.paths import SweepFolder

TEMPLATE = "together.html.j2"
SAME_BUDGET = 1e-6  # relative: budgets of frontiers are round numbers


@dataclass(frozen=True)
class Difference:
    """A quantity of two sweeps.

    Attributes:
        quantity: its name in words.
        first: the value of the first sweep with its interval, in words.
        other: that of the other sweep.
        difference: other minus first with its interval, in words; a dash if either has no single value.
    """

    quantity: str
    first: str
    other: str
    difference: str


@dataclass(frozen=True)
class Beside:
    """A sweep beside the first one.

    Attributes:
        name: of the sweep.
        differences: quantities of both.
        law: whether it follows the law of the first, a line a matter; or why that cannot be said.
    """

    name: str
    differences: tuple[Difference, ...]
    law: tuple[str, ...]


def write_together(folders: Sequence[Path], path: Path, *, resamples: int = RESAMPLES) -> Path:
    """Write one HTML file on several sweeps and return its path.

    Args:
        folders: folders of finished sweeps with laws in N and D, two or more.
        path: the file.
        resamples: redrawn estimates of each law, where two sweeps are held against each other.

    Raises:
        InputError: a folder comes twice, has no law, or its files are missing or damaged. Also if the file
            cannot be written.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("the same folder came twice, expected different sweeps: name each once")
    numbers = {name: key_numbers(SweepFolder(folder)) for name, folder in named(folders).items()}
    sweeps = {name: read_sweep(folder) for name, folder in named(folders).items()}
    counts = {name: sweep.fits.primary.count for name, sweep in sweeps.items() if sweep.fits.primary}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} counts {count}" for name, count in counts.items())
        raise InputError(f"{said}: sizes compare only under one count of N, give sweeps that share it")
    (first, base), *others = sweeps.items()
    reasons = {name: _not_comparable(base, sweep) for name, sweep in sweeps.items()}
    figure = plots.frontiers({name: (sweep.finished, sweep.fits.frontier) for name, sweep in sweeps.items()})
    svg = plots.to_svg(figure, "frontiers")
    page = reachable(
        page_environment()
        .get_template(TEMPLATE)
        .render(
            names=list(sweeps),
            live=_live(sweeps, reasons),
            level=base.fits.quoted.level if base.fits.quoted else LEVEL,
            reasons=reasons,
            links={
                name: os.path.relpath(SweepFolder(folder).report, path.parent)
                for name, folder in named(folders).items()
            },
            lead={
                name: answer(sweep.fits, sweep.finished, sweep.emergence) for name, sweep in sweeps.items()
            },
            rows=[
                (label, [found.get(label, DASH) for found in numbers.values()])
                for label in dict.fromkeys(label for found in numbers.values() for label in found)
            ],
            budgets=budget_rows([sweep.fits.frontier for sweep in sweeps.values()]),
            beside=[
                Beside(name, differences(base, sweep), law_lines(base, sweep, (first, name), resamples))
                for name, sweep in others
            ],
            svg=Markup(svg),  # Our own, with escaped names.
            width=svg_width(svg),
        )
    )
    try:
        write_atomic(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "out") from error
    return path


def _live(sweeps: Mapping[str, Sweep], reasons: Mapping[str, str]) -> LivePage:
    """Return the live part: one figure of all sweeps, and what the slider reads between."""
    known = [
        one_of_several(name, sweep.finished, sweep.fits, _table(sweep)) for name, sweep in sweeps.items()
    ]
    data = NOTHING.data | {"several": rounded(several_data(known, list(reasons.values())))}
    return live_page(with_figures(replace(NOTHING, data=data), {"frontiers": several_figure(known)}))


def _table(sweep: Sweep) -> LossTable | None:
    with contextlib.suppress(InputError):
        return load_table(sweep.finished, count=sweep.fits.primary.count) if sweep.fits.primary else None
    return None


def _not_comparable(first: Sweep, other: Sweep) -> str:
    """Return why losses of two sweeps do not compare; empty if they do."""
    try:
        check_same_text(first.points, other.points)
    except InputError as error:
        return str(error)
    return ""


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """Return folders by their names; by their whole paths if two have the same name."""
    names = [folder.resolve().name for folder in folders]
    return dict(zip(names if len(set(names)) == len(names) else map(str, folders), folders, strict=True))


def difference(first: AveragedRecord, other: AveragedRecord) -> tuple[float, Interval]:
    """Return other − first and its interval, as for independent estimates.

    The distances of both values to their ends add as squares, each side by itself.

    References: Zou & Donner 2008, Statistics in Medicine 27, 1693–1702, equation 5.
    """
    value = other.value - first.value
    low = math.hypot(other.value - other.low, first.high - first.value)
    high = math.hypot(other.high - other.value, first.value - first.low)
    return value, (value - low, value + high)


def differences(first: Sweep, other: Sweep) -> tuple[Difference, ...]:
    """Return what both sweeps say of the quantities that are stated over the laws."""
    rows = []
    for quantity in AveragedQuantity:
        one, two = (sweep.fits.average(quantity) for sweep in (first, other))
        if one is None or two is None:
            continue
        shown = DASH
        if one.agree and two.agree:
            value, ends = difference(one, two)
            shown = estimate(value, ends)
        rows.append(Difference(AVERAGE_WORDS[quantity], over_laws(one), over_laws(two), shown))
    return tuple(rows)


def law_lines(first: Sweep, other: Sweep, names: tuple[str, str], resamples: int) -> tuple[str, ...]:
    """Return whether the sweeps follow one law, in words, or why their losses do not compare."""
    try:
        check_same_text(first.points, other.points)
        tables = [load_table(sweep.points) for sweep in (first, other)]
        return tuple(text_of(compare_laws(*tables, resamples=resamples), *names).splitlines())
    except InputError as error:
        return (f"Their laws were not compared: {error}",)


def budget_rows(frontiers: Sequence[Sequence[FrontierRow]]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the best use of each budget that all frontiers have: N*, D* and loss of each sweep, in words."""
    rows = []
    for row in frontiers[0]:
        same = [
            next((each for each in rows_of if abs(each.flops / row.flops - 1) < SAME_BUDGET), None)
            for rows_of in frontiers
        ]
        found = [each for each in same if each is not None]
        if len(found) == len(frontiers):
            rows.append((power_of_ten(row.flops), [_best_use(each) for each in found]))
    return rows


def _best_use(row: FrontierRow) -> tuple[str, str, str]:
    n, d, loss = (
        None if low is None or high is None else (low, high)
        for low, high in ((row.n_low, row.n_high), (row.d_low, row.d_high), (row.loss_low, row.loss_high))
    )
    return estimate(row.n_opt, n, spell=si), estimate(row.d_opt, d, spell=si), estimate(row.loss, loss)
