"""Live figures on tasks: one task at a time under one metric or both, and in-context learning."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.explorer.sections.figure import (
    SHOWN,
    STAR,
    Card,
    Choice,
    LiveFigure,
    Option,
    Told,
    bars,
    by_size,
    covered,
    dots,
    drawn,
    group_bands,
    group_lines,
    having,
    level,
    levels,
    section_chart,
)
from analysis.explorer.vega import Axis, Json, Series, kept
from analysis.plots.emergence import AXIS_LABELS, PREDICTORS
from analysis.plots.in_context import READERS, SCORES
from analysis.plots.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION
from analysis.records.emergence import Axis as Scale
from analysis.records.emergence import EmergenceRecord, ForecastRow, InContextRecord, SizeRow, TaskRecord
from harness.records.number_text import si

SPELLED = {Scale.N: "si", Scale.C: "flops", Scale.D: "si", Scale.LOSS: None}
ALONG = {Scale.N: "model size N", Scale.C: "compute C", Scale.D: "tokens D", Scale.LOSS: "loss on text"}
METRICS = (
    Option("both", "smooth and exact match"),
    Option("smooth", "smooth: NLL per token"),
    Option("exact", "exact match"),
    Option("loglog", "ln(−ln exact match)"),
)
LAW = Series("law", "fitted law, 90 % band", BLACK, "band")
GUESSING = Series("guessing", "guessing", GREY, "dashes")
PRODUCT = Series("product", "Π of the accuracies", BLACK, "dashes")
FROM_LAW = Series("from_law", "from the law, e^(−L·NLL)", BLUE, "line", on=False)
POWER = Series("power", "accuracy^L", ORANGE, "dots", on=False)
ANSWER = Series("answer", "mean P(answer)", GREEN, "dashes", on=False)
# Fields of a row, besides its place: those of a size that are drawn or told.
FIELDS: dict[str, Callable[[SizeRow], float | None]] = {
    "nll": lambda size: size.nll,
    "sd": lambda size: size.ln_nll_sd,
    "law": lambda size: size.law,
    "law_low": lambda size: size.law_low,
    "law_high": lambda size: size.law_high,
    "exact": lambda size: size.exact,
    "upper": lambda size: size.exact_upper,
    "loglog": lambda size: size.loglog,
    "from_law": lambda size: size.from_law,
    "from_low": lambda size: size.from_law_low,
    "from_high": lambda size: size.from_law_high,
    **dict(zip(("power", "product", "answer"), (value for value, *_ in PREDICTORS), strict=True)),
}
READER_LOOKS = {name: (label, colour) for name, (label, colour, _) in READERS.items()}
SMALLEST = 1e-6  # product of accuracies: below it ln(−ln) would stretch the axis beyond every measured value


def emergence_figure(found: EmergenceRecord) -> LiveFigure:
    """Return the figure of all tasks, of which one is chosen, along one axis and under one metric or both."""
    axes = [each.axis for each in found.axes]
    keys = list(dict.fromkeys((task.task, task.length) for task in found.tasks))
    tasks = list(dict.fromkeys(task for task, _ in keys))
    groups = _groups(keys)
    rows: dict[str, list[Json]] = {"skills": [], "skill_levels": [], "skill_ahead": []}
    for task in found.tasks:
        place = {"g": keys.index((task.task, task.length)), "a": axes.index(task.axis)}
        rows["skills"] += [place | _row(task, size) for size in task.sizes]
        rows["skill_levels"].append(place | _levels(task))
        rows["skill_ahead"] += [place | _ahead(each) for each in task.forecast]
    choices = (
        Choice(
            "task", "task", tuple(Option(task, task.replace("_", " "), _said(found, task)) for task in tasks)
        ),
        Choice("metric", "metric", METRICS),
        Choice("along", "along", tuple(Option(str(each), ALONG[each]) for each in axes)),
    )
    charts: list[Json] = []
    for number, axis in enumerate(axes):
        by_key = {(task.task, task.length): task for task in found.along(axis)}
        along = _Along(axis, number, tuple(map(by_key.get, keys)), groups, choices[0])
        charts += along.charts()
    return LiveFigure(tuple(charts), rows, choices)


def _groups(keys: Sequence[tuple[str, float]]) -> tuple[Series, ...]:
    """Return a group a task and length, named by its length; the legend names those of the chosen task."""
    found: list[Series] = []
    for task in dict.fromkeys(task for task, _ in keys):
        lengths = [length for name, length in keys if name == task]
        names = [f"length {length:g}" if length else task.replace("_", " ") for length in lengths]
        for each in by_size("length", names, when={"task": [task]}):
            found.append(Series(f"length{len(found)}", each.label, each.colour, each.mark, when=each.when))
    return tuple(found)


def _row(task: TaskRecord, size: SizeRow) -> Json:
    row: Json = {"at": size.at, **{name: value(size) for name, value in FIELDS.items()}}
    spread = size.ln_nll_sd
    row["nll_low"] = None if spread is None else size.nll * math.exp(-spread)
    row["nll_high"] = None if spread is None else size.nll * math.exp(spread)
    straight, product = None, size.product
    if task.n_positions and size.law is not None and size.law > 0:
        straight = math.log(task.n_positions * size.law)
    bent = product is not None and SMALLEST < product < 1
    row["loglog_law"] = straight
    row["loglog_product"] = math.log(-math.log(product)) if bent and product is not None else None
    return row | {"seeds": size.n_seeds, "chance": task.chance, "chance_nll": task.chance_nll}


def _ahead(each: ForecastRow) -> Json:
    return {"at": each.at, "forecast": each.exact, "low": each.low, "high": each.high, "x": each.factor}


def _levels(task: TaskRecord) -> Json:
    """Return the levels of guessing, and the ends of a jump in the unit of the axis."""
    start, end = _ends(task) or (None, None)
    return {"chance": task.chance, "chance_nll": task.chance_nll, "start": start, "end": end}


def _ends(task: TaskRecord) -> tuple[float, float] | None:
    """Return where a jump begins and ends, in the unit of the axis; None without one."""
    start, end = task.sharpness.start, task.sharpness.end
    # Along the loss the jump is in decades of N, which are no values of this axis.
    if not task.verdict.is_jump or task.axis == Scale.LOSS or start is None or end is None:
        return None
    at = [size.at for size in task.sizes]
    low, high = np.clip([10**start, 10**end], min(at), max(at)).tolist()
    return low, high


def _said(found: EmergenceRecord, task: str) -> str:
    own = [each for each in found.first if each.task == task]
    return "; ".join(f"{each.name}: {each.label}" for each in own)


@dataclass(frozen=True)
class _Along:
    """The charts of the tasks along one axis.

    Attributes:
        axis: the measure of scale.
        place: its place among the axes, field `a` of the rows.
        tasks: the record of each group along it; None for a group that was not examined along it.
        groups: entries of the legend.
        task: list of the tasks.
    """

    axis: Scale
    place: int
    tasks: tuple[TaskRecord | None, ...]
    groups: tuple[Series, ...]
    task: Choice

    def charts(self) -> list[Json]:
        """Return the smooth metric, exact match, and ln(−ln exact match)."""
        found = [self._smooth(), self._exact(), self._loglog()]
        if self.axis == Scale.LOSS:
            # Better models to the right, as along the other axes.
            for each in found:
                each["scales"][0]["reverse"] = True
        return found

    def _smooth(self) -> Json:
        return self._chart(
            "smooth",
            Axis("NLL, nats per token"),
            [
                having("spread", "skills", "nll_low"),
                having("guess", "skill_levels", "chance_nll"),
                having("jumps", "skill_levels", "start"),
                drawn(["skills"], ["nll", "nll_low", "nll_high", "law", "chance_nll"]),
            ],
            [
                _jump(),
                group_bands("skills", "at", "law_low", "law_high", "law"),
                group_lines("skills", "at", "law", "law"),
                levels("guess", "chance_nll", "guessing"),
                bars("spread", "at", "nll_low", "nll_high"),
                *dots("skills", "at", "nll"),
            ],
            (LAW, GUESSING, *self._of_some("jump", "10–90 % of the jump", VERMILION, "band", _jumps)),
            "Negative log-likelihood of the right answer",
        )

    def _exact(self) -> Json:
        dashes = {"from_law": [1, 0], "power": [1, 3], "answer": [8, 3, 2, 3], "product": [5, 3]}
        lines = [
            group_lines("skills", "at", name, name, strokeDash={"value": dash}, strokeWidth={"value": 1.4})
            for name, dash in dashes.items()
        ]
        return self._chart(
            "exact",
            Axis("exact match", log=False, zero=True),
            [
                {"name": "skill_ahead", "transform": self._own()},
                having("measured", "skills", "exact"),
                having("none", "skills", "upper"),
                having("guess", "skill_levels", "chance"),
                drawn(["skills", "skill_ahead"], ["exact", "chance", "high", *dashes]),
            ],
            [
                group_bands("skills", "at", "from_low", "from_high", "from_law"),
                *lines,
                levels("guess", "chance", "guessing"),
                *dots("none", "at", "upper", shape="triangle-down", hollow=True),
                *dots("measured", "at", "exact"),
                bars("skill_ahead", "at", "low", "high", series="ahead"),
                *dots("skill_ahead", "at", "forecast", shape=STAR, size=170, series="ahead"),
            ],
            (
                PRODUCT,
                FROM_LAW,
                POWER,
                ANSWER,
                GUESSING,
                *self._of_some("ahead", "forecast, 90 %", PURPLE, "point", lambda task: bool(task.forecast)),
            ),
            "Exact match",
        )

    def _loglog(self) -> Json:
        return self._chart(
            "loglog",
            Axis("ln(−ln exact match)", log=False),
            [
                having("measured", "skills", "loglog"),
                drawn(["skills"], ["loglog", "loglog_law", "loglog_product"]),
            ],
            [
                group_lines("skills", "at", "loglog_law", "law"),
                group_lines("skills", "at", "loglog_product", "product", strokeDash={"value": [5, 3]}),
                *dots("measured", "at", "loglog"),
            ],
            (LAW, PRODUCT),
            "The scale on which independent errors under a power law are a straight line",
        )

    def _own(self) -> list[Json]:
        """Return the transforms that keep the rows of the chosen task along this axis."""
        of_group = json.dumps([key.when["task"][0] for key in self.groups])
        return [kept(f"datum.a === {self.place} && {of_group}[datum.g] === task"), SHOWN]

    def _of_some(
        self, name: str, label: str, colour: str, mark: str, has: Callable[[TaskRecord], bool]
    ) -> tuple[Series, ...]:
        """Return an entry of the legend for those tasks that have something to show for it."""
        having_it = list(dict.fromkeys(task.task for task in self.tasks if task and has(task)))
        return (Series(name, label, colour, mark, when={"task": having_it}),)

    def _with_exact(self) -> list[str]:
        return list(dict.fromkeys(task.task for task in self.tasks if task and task.has_exact))

    def _chart(
        self,
        metric: str,
        y: Axis,
        data: list[Json],
        marks: list[Json],
        series: tuple[Series, ...],
        words: str,
    ) -> Json:
        own = [{"name": name, "transform": self._own()} for name in ("skills", "skill_levels")]
        return section_chart(
            f"{words} along {ALONG[self.axis]}, one colour a length",
            (Axis(AXIS_LABELS[self.axis], SPELLED[self.axis], log=self.axis != Scale.LOSS), y),
            [*own, *data],
            covered("at"),
            marks,
            groups=self.groups,
            series=series,
            card=self._card(),
            choices=[self.task],
            when={"metric": [metric] if metric == "loglog" else [metric, "both"], "along": [str(self.axis)]}
            | ({} if metric == "smooth" else {"task": self._with_exact()}),
        )

    def _card(self) -> Card:
        return Card(
            (
                Told(ALONG[self.axis], "at", SPELLED[self.axis] or "decimals"),
                Told("NLL, nats per token", "nll"),
                Told("± SD of seeds", "", low="nll_low", high="nll_high"),
                Told("NLL of guessing", "chance_nll"),
                Told("NLL by the law", "law", low="law_low", high="law_high"),
                Told("exact match", "exact"),
                Told("none right: at most", "upper"),
                Told("exact match of guessing", "chance"),
                Told("Π of the accuracies", "product"),
                Told("from the law", "from_law", low="from_low", high="from_high"),
                Told("forecast of exact match", "forecast", low="low", high="high"),
                Told("times the largest model", "x", "times"),
                Told("seeds", "seeds", "plain"),
            ),
            names=tuple(task.name if task else "" for task in self.tasks),
        )


def _jumps(task: TaskRecord) -> bool:
    return _ends(task) is not None


def _jump() -> Json:
    """Return the range over which the jump of each group happens."""
    across = {"x": {"scale": "x", "field": "start"}, "x2": {"scale": "x", "field": "end"}}
    down = {"y": {"value": 0}, "y2": {"signal": "height"}}
    look = {"fill": {"value": VERMILION}, "opacity": {"signal": "show_jump ? 0.05 : 0"}}
    return {
        "type": "rect",
        "from": {"data": "jumps"},
        "clip": True,
        "interactive": False,
        "encode": {"update": across | down | look},
    }


def in_context_figure(found: Sequence[InContextRecord]) -> LiveFigure:
    """Return loss by position, use of context, Markov chains or prefix matching: one chart at a time."""
    charts: list[Json] = []
    rows: dict[str, list[Json]] = {}
    options: list[Option] = []

    def add(name: str, label: str, own: list[tuple[int, InContextRecord]], axes: tuple[str, str, Axis],
            groups: Sequence[Series]) -> None:  # fmt: skip
        if own:
            rows[name] = [_measured(each, group) for group, each in own]
            options.append(Option(name, label))
            charts.append(_lines(name, label, axes, groups))

    positions = [each for each in found if each.metric == "loss_at_position"]
    sizes = sorted({each.n_params for each in positions})
    add(
        "positions",
        "loss by position",
        [(sizes.index(each.n_params), each) for each in positions],
        ("length", "position in the text (end of the bin)", Axis("loss, nats per token")),
        by_size("size", [f"N = {si(n)}" for n in sizes]),
    )
    looks: dict[str, tuple[str, str, dict[str, tuple[str, str]]]] = {
        "scores": ("use of context", "nats per token", SCORES),
        "readers": ("Markov chains: distance from the truth", "KL, nats", READER_LOOKS),
    }
    for name, (label, title, entries) in looks.items():
        own = [each for each in found if each.metric in entries]
        metrics = [metric for metric in entries if any(each.metric == metric for each in own)]
        add(
            name,
            label,
            [(metrics.index(each.metric), each) for each in own],
            ("n", "parameters N", Axis(title, log=False, zero=True)),
            [Series(f"{name}{place}", *entries[metric], "line") for place, metric in enumerate(metrics)],
        )
    heads = [each for each in found if each.metric == "prefix_matching_score"]
    layers = sorted({each.length for each in heads})
    add(
        "heads",
        "prefix matching, best head of the layer",
        [(layers.index(each.length), each) for each in heads],
        ("n", "parameters N", Axis("share of attention", log=False, zero=True)),
        by_size("layer", [f"layer {layer:g}" for layer in layers], "line"),
    )
    return LiveFigure(tuple(charts), rows, (Choice("contexts", "show", tuple(options)),))


def _measured(each: InContextRecord, group: int) -> Json:
    spread = each.sd or 0.0
    return {
        "g": group,
        "n": each.n_params,
        "length": each.length,
        "value": each.value,
        "low": each.value - spread,
        "high": each.value + spread,
        "seeds": each.n_seeds,
    }


def _lines(name: str, label: str, axes: tuple[str, str, Axis], groups: Sequence[Series]) -> Json:
    at, title, y = axes
    card = Card(
        (
            Told("N", "n", "si"),
            *([Told("position", "length", "si")] if at == "length" else []),
            Told(y.title, "value"),
            Told("± SD of seeds", "", low="low", high="high"),
            Told("seeds", "seeds", "plain"),
        )
    )
    return section_chart(
        f"{label[0].upper()}{label[1:]}, with the standard deviation of seeds",
        (Axis(title, "si"), y),
        [{"name": name, "transform": [SHOWN, {"type": "collect", "sort": {"field": at}}]}],
        ([(name, at)], [(name, "low"), (name, "high")]),
        [
            *([] if y.log else [level(0.0)]),
            group_lines(name, at, "value"),
            bars(name, at, "low", "high"),
            *dots(name, at, "value", size=30),
        ],
        groups=groups,
        card=card,
        when={"contexts": [name]},
    )
