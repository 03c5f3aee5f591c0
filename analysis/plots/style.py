"""House style of figures: palette, axes, legends, and reproducible image files."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from analysis.arrays import Interval
from analysis.frontier import FrontierCurve
from analysis.result import Fit
from analysis.tables.table import LossTable
from analysis.uncertainty.profile import Profile
from harness.records.errors import printable
from harness.records.files import write_atomic

Pair = tuple[float, float]
P = ParamSpec("P")

# Palette of Okabe and Ito, distinct under every common colour blindness.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
SINGLE = 4.8  # inches: a figure of one panel is readable at the width of a telephone
LEGEND_CHARACTERS, MARK_CHARACTERS = 72, 6  # that fit into one line of a legend below, and of each mark
NOT_PLAIN, LONGEST_SLUG = re.compile(r"[^A-Za-z0-9_-]+"), 60
LONGEST_LABEL = 32  # characters
# Of a scale every digit counts; of a coordinate in points two decimals are enough.
SCALE_OR_COORDINATE = re.compile(r"scale\([^)]*\)|-?\d+\.\d{3,}")
BETWEEN_LINES = re.compile(r"\n\s+")
SHIFTED = re.compile(r'(<use [^>]*?) transform="translate\(([-\d.]+) 0\)"/>')  # a letter of a text
INLINE_STYLE = re.compile(r'(?<=style=")[^"]*')
# Marks in a row with one style, of which the group around them can have it.
ALIKE = re.compile(r'<use [^>]*? style="([^"]*)"/>\n(?:<use [^>]*? style="\1"/>\n)+')
ID = re.compile(r'( id="|href="#|url\(#)([^")]+)([")])')
REFERENCE = re.compile(r'(?:href="#|url\(#)([^")]+)')
GREY, LIGHT = "#6b7280", "#d1d5db"
MARKERS = "osD^vP*X<>"
COUNT_NAMES = {"n_params_matmul": "body and head", "n_params_body": "body", "n_params": "all"}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "svg.fonttype": "path",
    # Names of sizes and tasks come from files, and a dollar sign in one is no formula.
    "text.parse_math": False,
}


@contextmanager
def without_font_warnings() -> Iterator[None]:
    """Say nothing of letters that the font lacks: a name may be in any script."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


class Drawing(Figure):
    """A Matplotlib figure that shows itself as SVG at the end of a notebook cell."""

    def _repr_svg_(self) -> str:
        return to_svg(self, str(self.get_label() or "figure"))

    def __repr__(self) -> str:
        return f"Drawing({self.get_label()})"


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the house style without touching Matplotlib's global settings.

    The figure function takes results as they are returned (fits, frontiers, profiles, lists of them), and a
    LossTable in the place of points.
    """

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE), without_font_warnings():
            named = {name: as_stored(value) for name, value in kwargs.items()}
            figure = draw(*map(as_stored, args), **named)
            figure.set_label(draw.__name__)
            # Each drawing moves the layout a little, so PNG and SVG would differ without this first one.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            return figure

    return wrapper


def as_stored(value: Any) -> Any:
    """Return a result in the form that fits.json holds; anything else stays as it is."""
    if isinstance(value, Fit):
        return replace(value, cloud=_cloud(value)).to_record()
    if isinstance(value, FrontierCurve):
        return value.rows()
    if isinstance(value, Profile):
        return value.to_record()
    if isinstance(value, LossTable):
        return value.points()
    return [as_stored(entry) for entry in value] if isinstance(value, list | tuple) else value


def _cloud(fit: Fit) -> tuple[Interval, ...] | None:
    """Return all bootstrap estimates (alpha, beta) of a fit that has both."""
    names = list(fit.estimates)
    if fit.samples is None or not {"alpha", "beta"} <= set(names):
        return None
    alpha, beta = (fit.samples[:, names.index(name)].tolist() for name in ("alpha", "beta"))
    return tuple(zip(alpha, beta, strict=True))


def count_axis(count: str) -> str:
    """Return the label of an axis of N, with the parameters that the column counts."""
    return f"{COUNT_NAMES.get(count, '')} parameters N".strip()


def grid(rows: int, columns: int, size: Pair, *, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure (size in inches) and its axes, row by row."""
    figure = Drawing(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    return figure, list(axes.flat)


def log_axis(axes: Axes, which: str, label: Callable[[float], str], limits: Pair | None = None) -> None:
    """Make an axis logarithmic, with few round labels: 1, 2, 5 over short ranges, else powers of ten."""
    setter = axes.set_xscale if which == "x" else axes.set_yscale
    setter("log")
    if limits is not None:
        (axes.set_xlim if which == "x" else axes.set_ylim)(*limits)
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    axis.set_major_locator(_ticks(high / low))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def _ticks(ratio: float) -> Locator:
    """Return few round ticks for an axis whose ends are `ratio` apart."""
    if ratio < 5:
        return MaxNLocator(4)
    subs = (1.0,) if ratio > 500 else (1.0, 3.0) if ratio > 60 else (1.0, 2.0, 5.0)
    return LogLocator(subs=subs, numticks=20)


def loss_axis(axes: Axes) -> None:
    """Make the y axis logarithmic with plain numbers, for losses within a decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())


def rung_styles(rungs: Sequence[str]) -> dict[str, tuple[tuple[float, ...], str]]:
    """Return colour and marker of each rung, smallest first: dark to bright, also readable in grey."""
    shades = np.linspace(0.02, 0.86, max(len(rungs), 2))
    return {
        rung: (tuple(colormaps["viridis"](shades[i])), MARKERS[i % len(MARKERS)])
        for i, rung in enumerate(rungs)
    }


def legend_beside(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put one legend to the right of several panels, where it covers no data."""
    handles, labels = _entries(axes)
    figure.legend(handles, labels, loc="outside right center", title=title, title_fontsize=8)


def legend_below(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put one legend below a single panel, which then stays wide enough on a telephone."""
    handles, labels = _entries(axes)
    longest = max(len(line) for label in labels for line in label.splitlines())
    columns = max(1, min(len(labels), LEGEND_CHARACTERS // (longest + MARK_CHARACTERS)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, title=title, title_fontsize=8)


def _entries(axes: Axes) -> tuple[list[Any], list[str]]:
    """Return handles and labels of a legend, each label once."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    return list(unique.values()), list(unique)


def short_name(name: str) -> str:
    """Return a name from a file as text of a figure: one line that leaves room for the data."""
    text = printable(name)
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def slug(name: str) -> str:
    """Return a name for files and for ids of HTML; names that differ give slugs that differ.

    >>> slug("addition_reversed"), slug("../x")
    ('addition_reversed', 'x-d6b96a')
    """
    plain = NOT_PLAIN.sub("-", name)[:LONGEST_SLUG].strip("-")
    if plain == name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain}-{digest[:6]}".lstrip("-")


def to_svg(figure: Figure, name: str) -> str:
    """Return the figure as SVG to save or to inline: same bytes for same data, ids unique to `name`."""
    prefix = slug(name)
    buffer = io.StringIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": prefix}), without_font_warnings():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = SCALE_OR_COORDINATE.sub(_short, BETWEEN_LINES.sub("\n", text))
    text = SHIFTED.sub(r'\1 x="\2"/>', text)
    text = INLINE_STYLE.sub(lambda found: found[0].replace("; ", ";").replace(": ", ":"), text)
    text = ALIKE.sub(_grouped, text)
    return ID.sub(_Renamed(prefix, set(REFERENCE.findall(text))), text)


class _Renamed:
    """Replacement of the ids of a figure: short ones with its name; an id without reference goes."""

    def __init__(self, prefix: str, referred: set[str]) -> None:
        self._prefix, self._referred = prefix, referred
        self._names: dict[str, str] = {}

    def __call__(self, found: re.Match[str]) -> str:
        attribute, name, end = found.groups()
        if name not in self._referred:
            return ""
        short = self._names.setdefault(name, f"{self._prefix}-{len(self._names)}")
        return f"{attribute}{short}{end}"


def _grouped(found: re.Match[str]) -> str:
    style = f' style="{found[1]}"'
    return f"<g{style}>\n{found[0].replace(style, '')}</g>\n"


def _short(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("scale") else f"{round(float(found[0]), 2):g}"


def write_images(figure: Figure, svg: str, folder: Path, name: str) -> None:
    """Write NAME.png, and NAME.svg from the text that `to_svg` made; both under the slug of the name."""
    name = slug(name)
    with mpl.rc_context(STYLE), without_font_warnings():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=150, metadata={"Software": None})
    write_atomic(folder / f"{name}.png", buffer.getvalue())
    write_atomic(folder / f"{name}.svg", svg)
