"""Figures on emergence: the smooth metric of a task, its exact match, and ln(−ln exact match); all tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arrays import Array
from analysis.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SINGLE,
    SKY,
    VERMILION,
    Drawing,
    grid,
    log_axis,
    rung_styles,
    short_name,
    styled,
)
from analysis.records.emergence import Axis, SizeRow, TaskRecord
from harness.records.number_text import power_of_ten, si

AXIS_LABELS = {
    Axis.N: "parameters N",
    Axis.C: "training FLOPs C",
    Axis.D: "training tokens D",
    Axis.LOSS: "loss on text, nats",
}
PREDICTORS: tuple[tuple[Callable[[SizeRow], float | None], str, str, str], ...] = (
    (lambda size: size.accuracy_power, "(a) accuracy^L", ORANGE, ":"),
    (lambda size: size.product, "(b) Π of accuracies", VERMILION, "--"),
    (lambda size: size.p_answer, "(c) mean P(answer)", GREEN, "-."),
)
CELLS = 6  # columns of the grid behind a row, which one, two or three panels divide
FEWEST = 3  # points of ln(−ln exact match) that make a curve
TASKS_A_ROW = 2
LOWEST_TOP = 0.05  # exact match at the top of a panel in which hardly an answer is right
Colour = tuple[float, ...]
Panel = Callable[[Axes, TaskRecord, Array], None]


@styled
def emergence(tasks: Sequence[TaskRecord]) -> Figure:
    """Draw one task on one axis, a row a length.

    The panels show the smooth metric, exact match with its predictors, and ln(−ln exact match). A panel
    without data is left out, and the others share its place.
    """
    rows = [_panels(task) for task in tasks]
    columns = max(map(len, rows))
    width = {1: SINGLE, 2: 7.6, 3: 11}[columns]
    figure = Drawing(figsize=(width, 0.5 + 2.9 * len(tasks)), layout="constrained")
    places = figure.add_gridspec(len(tasks), CELLS)
    axes = []
    for row, (task, panels) in enumerate(zip(tasks, rows, strict=True)):
        at = np.array([size.at for size in task.sizes])
        each = CELLS // len(panels)
        for column, draw in enumerate(panels):
            panel = figure.add_subplot(places[row, each * column : each * (column + 1)])
            draw(panel, task, at)
            _size_axis(panel, task.axis)
            axes.append(panel)
            if column == 0:
                panel.set_title(f"{short_name(task.name)}: {task.verdict.replace('_', ' ')}")
    handles: dict[str, Any] = {}
    for panel in axes:
        drawn = panel.get_legend_handles_labels()
        handles |= dict(zip(drawn[1], drawn[0], strict=True))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return figure


@styled
def emergence_overview(tasks: Sequence[TaskRecord]) -> Figure:
    """Draw all tasks on one axis: the smooth metric and exact match of each, a colour a length.

    Lines are the fitted law, and the product of the accuracies of the positions. Levels of guessing are
    dashed.
    """
    names = list(dict.fromkeys(task.task for task in tasks))
    rows = -(-len(names) // TASKS_A_ROW)
    columns = 2 * min(TASKS_A_ROW, len(names))
    figure, axes = grid(rows, columns, (2.8 * columns, 0.4 + 2.3 * rows))
    for place, name in enumerate(names):
        own = [task for task in tasks if task.task == name]
        styles = rung_styles([f"{task.length:g}" for task in own])
        smooth, exact = axes[2 * place : 2 * place + 2]
        for task in own:
            colour, marker = styles[f"{task.length:g}"]
            _one_length(smooth, exact, task, colour, marker)
        smooth.set_title(short_name(name).replace("_", " "))
        log_axis(smooth, "y", lambda value: f"{value:.3g}")
        smooth.set_ylabel("NLL, nats per token")
        exact.set_ylabel("exact match")
        for panel in (smooth, exact):
            _size_axis(panel, own[0].axis)
        if own[0].length:
            smooth.legend(title="length", fontsize=6.5, title_fontsize=6.5)
        exact.set_visible(any(task.has_exact for task in own))
        exact.set_ylim(bottom=-0.03 * exact.get_ylim()[1])
    for spare in axes[2 * len(names) :]:
        spare.set_visible(False)
    return figure


def _one_length(smooth: Axes, exact: Axes, task: TaskRecord, colour: Colour, marker: str) -> None:
    at = np.array([size.at for size in task.sizes])
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3.2, "linestyle": "none"}
    smooth.plot(at, _values(task, lambda size: size.nll), label=f"{task.length:g}", **look)
    if task.law:
        smooth.plot(at, _values(task, lambda size: size.law), color=colour, linewidth=0.9)
    if task.chance_nll:
        smooth.axhline(task.chance_nll, color=colour, linestyle="--", linewidth=0.6)
    exact.plot(at, _values(task, lambda size: size.exact), **look)
    exact.plot(at, _values(task, lambda size: size.product), color=colour, linewidth=0.9)
    if task.chance:
        exact.axhline(task.chance, color=colour, linestyle="--", linewidth=0.6)


def _values(task: TaskRecord, value: Callable[[SizeRow], float | None]) -> Array:
    """Return one value of each size, NaN for None: lines are interrupted there."""
    found = [value(size) for size in task.sizes]
    return np.array([np.nan if each is None else each for each in found], float)


def _panels(task: TaskRecord) -> list[Panel]:
    """Return the panels for which a task has data."""
    points = sum(size.loglog is not None for size in task.sizes)
    panels = [(_smooth, True), (_exact, task.has_exact), (_loglog, points >= FEWEST)]
    return [draw for draw, has_data in panels if has_data]


def _size_axis(axes: Axes, axis: Axis) -> None:
    axes.set_xlabel(AXIS_LABELS[axis])
    if axis == Axis.LOSS:
        axes.invert_xaxis()
    else:
        log_axis(axes, "x", power_of_ten if axis == Axis.C else si)


def _smooth(axes: Axes, task: TaskRecord, at: Array) -> None:
    nll = _values(task, lambda size: size.nll)
    spread = np.nan_to_num(_values(task, lambda size: size.ln_nll_sd))
    error = np.stack([nll - nll * np.exp(-spread), nll * np.exp(spread) - nll])
    axes.errorbar(at, nll, error, fmt="o", color=BLUE, elinewidth=0.8, label="measured, ± SD of seeds")
    if task.law:
        axes.plot(at, _values(task, lambda size: size.law), color=BLUE, label="fitted law, 90 % band")
        low, high = _values(task, lambda size: size.law_low), _values(task, lambda size: size.law_high)
        axes.fill_between(at, low, high, color=SKY, alpha=0.35, lw=0)
    if task.chance_nll:
        axes.axhline(task.chance_nll, color=GREY, linestyle="--", linewidth=0.9, label="guessing")
    start, end = task.sharpness.start, task.sharpness.end
    # Along the loss the jump is in decades of N, which are no values of this axis.
    if task.verdict.is_jump and task.axis != Axis.LOSS and start is not None and end is not None:
        inside = np.clip([10**start, 10**end], at.min(), at.max())
        axes.axvspan(*inside, color=VERMILION, alpha=0.12, lw=0, label="10–90 % of the jump")
    log_axis(axes, "y", lambda value: f"{value:.3g}")
    axes.set_ylabel("NLL, nats per token")


def _exact(axes: Axes, task: TaskRecord, at: Array) -> None:
    axes.set_ylabel("exact match")
    from_law = _values(task, lambda size: size.from_law)
    if task.law and np.isfinite(from_law).any():
        axes.plot(at, from_law, color=BLUE, label="(d) from the law, e^(−L·NLL)")
        low = _values(task, lambda size: size.from_law_low)
        high = _values(task, lambda size: size.from_law_high)
        axes.fill_between(at, low, high, color=SKY, alpha=0.35, lw=0)
    for value, label, colour, line in PREDICTORS:
        if np.isfinite(_values(task, value)).any():
            axes.plot(at, _values(task, value), line, color=colour, label=label)
    exact = _values(task, lambda size: size.exact)
    axes.plot(at, exact, "o", color=BLACK, label="exact match, measured", zorder=4)
    upper = _values(task, lambda size: size.exact_upper)
    if np.isfinite(upper).any():
        axes.plot(at, upper, "v", color=GREY, markerfacecolor="none", label="none right: upper limit 3/n")
    if task.chance:
        axes.axhline(task.chance, color=GREY, linestyle="--", linewidth=0.9, label="guessing")
    for ahead in task.forecast:
        error = np.maximum([[ahead.exact - ahead.low], [ahead.high - ahead.exact]], 0)
        axes.errorbar(ahead.at, ahead.exact, error, fmt="*", color=PURPLE, label="forecast, 90 %")
    highest = max([np.nanmax(line.get_ydata(), initial=0) for line in axes.get_lines()], default=0.0)
    top = max(LOWEST_TOP, min(1.0, 1.2 * highest))
    axes.set_ylim(-0.03 * top, 1.03 * top)


def _loglog(axes: Axes, task: TaskRecord, at: Array) -> None:
    """Draw ln(−ln exact match): a power law under independent errors is a straight line here."""
    axes.set_ylabel("ln(−ln exact match)")
    axes.plot(at, _values(task, lambda size: size.loglog), "o", color=BLACK)
    if task.n_positions and task.law:
        axes.plot(at, np.log(task.n_positions * _values(task, lambda size: size.law)), color=BLUE)
    product = np.clip(_values(task, lambda size: size.product), 1e-12, 1 - 1e-12)
    if np.isfinite(product).any():
        # Products below 1e-6 would stretch the axis far beyond every measured value.
        axes.plot(at, np.where(product > 1e-6, np.log(-np.log(product)), np.nan), "--", color=VERMILION)
