"""Figures on in-context learning: loss by position, late − early score, divergence from simple predictors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    grid,
    log_axis,
    loss_axis,
    rung_styles,
    styled,
)
from analysis.records.emergence import InContextRecord
from harness.records.number_text import si

# Share of a panel above the data that its legend has to itself.
LEGEND_ROOM = 0.3
READERS = {
    "kl_model": ("the model", BLUE, "o-"),
    "kl_uniform": ("uniform", GREY, ":"),
    "kl_unigram": ("unigram", ORANGE, "-."),
    "kl_bigram_bayes": ("bigram, Bayes", GREEN, "--"),
}
SCORES = {
    "icl_score": ("late − early loss on text", BLUE),
    "repeated_sequence_score": ("gain at the second time, random tokens", VERMILION),
}


@styled
def in_context(rows: Sequence[InContextRecord]) -> Figure:
    """Draw up to four panels: those for which the rows hold data."""
    frame = pd.DataFrame(rows)
    drawings = [draw for draw in (_by_position, _scores, _readers, _prefix) if draw(None, frame)]
    figure, axes = grid(-(-len(drawings) // 2), min(2, len(drawings)), (10.5, 3.6 * -(-len(drawings) // 2)))
    for panel, draw in zip(axes, drawings, strict=False):
        draw(panel, frame)
    for spare in axes[len(drawings) :]:
        spare.set_visible(False)
    return figure


def _by_position(axes: Axes | None, frame: pd.DataFrame) -> bool:
    own = frame[frame["metric"] == "loss_at_position"]
    if axes is None or own.empty:
        return not own.empty
    sizes = sorted(own["n_params"].unique())
    styles = rung_styles([si(n) for n in sizes])
    for n in sizes:
        colour, marker = styles[si(n)]
        line = own[own["n_params"] == n].sort_values("length")
        axes.plot(line["length"], line["value"], color=colour, marker=marker, markersize=3.5, label=si(n))
    log_axis(axes, "x", si)
    loss_axis(axes)
    axes.set_xlabel("position in the text (end of the bin)")
    axes.set_ylabel("loss, nats per token")
    axes.legend(title="N", ncols=2, fontsize=6.5, title_fontsize=7)
    axes.set_title("loss by position")
    return True


def _against_size(axes: Axes, title: str, label: str) -> None:
    log_axis(axes, "x", si)
    axes.set_xlabel("parameters N")
    axes.set_ylabel(label)
    axes.set_title(title)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + LEGEND_ROOM * (high - low))
    axes.legend(loc="upper left", ncols=1 if len(axes.get_legend_handles_labels()[0]) < 3 else 2)


def _line(axes: Axes, own: pd.DataFrame, **look: Any) -> None:
    own = own.sort_values("n_params")
    axes.errorbar(own["n_params"], own["value"], own["sd"].astype(float).fillna(0), elinewidth=0.8, **look)


def _scores(axes: Axes | None, frame: pd.DataFrame) -> bool:
    own = frame[frame["metric"].isin(SCORES)]
    if axes is None or own.empty:
        return not own.empty
    for metric, (label, colour) in SCORES.items():
        if (own["metric"] == metric).any():
            _line(axes, own[own["metric"] == metric], fmt="o-", color=colour, label=label)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    _against_size(axes, "use of context, ± SD of seeds", "nats per token")
    return True


def _readers(axes: Axes | None, frame: pd.DataFrame) -> bool:
    own = frame[frame["metric"].isin(READERS)]
    if axes is None or own.empty:
        return not own.empty
    for metric, (label, colour, line) in READERS.items():
        if (own["metric"] == metric).any():
            _line(axes, own[own["metric"] == metric], fmt=line, color=colour, label=label)
    _against_size(axes, "Markov chains: distance from the truth", "KL, nats")
    return True


def _prefix(axes: Axes | None, frame: pd.DataFrame) -> bool:
    own = frame[frame["metric"] == "prefix_matching_score"]
    if axes is None or own.empty:
        return not own.empty
    for layer, part in own.groupby("length"):
        _line(axes, part, fmt="o-", label=f"layer {layer:g}")
    _against_size(axes, "prefix matching, best head of the layer", "share of attention")
    return True
