"""The report of a sweep: read its files, draw its figures, render the page."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import UndefinedError
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis import plots
from analysis.advice import FOREMOST, Source
from analysis.compare.text import noise_line, runs_line, seeds_line, shift_line
from analysis.curves.score import score as score_ends
from analysis.curves.score import try_forecasts
from analysis.curves.sweep import finished_runs
from analysis.explorer.page import NOTHING, Explored, counts_of, explored, rounded, run_rows
from analysis.explorer.sections.figure import with_figures
from analysis.prediction.answers import NO_ANSWERS, Answers
from analysis.prediction.text import accuracy_text, answer_names, answer_row, laws_text
from analysis.records.averages import AveragedQuantity
from analysis.records.curves import Tried
from analysis.records.emergence import EmergenceRecord, read_emergence
from analysis.records.fit import COUNTS, FitRecord
from analysis.records.fits import StudyRecord, read_study
from analysis.records.forecast import ForecastRecord, ScoreRecord, read_own_forecasts
from analysis.records.learning_rate import LearningRateRecord
from analysis.report.doubts import COUNT_WORDS, other_doubts, own_doubts
from analysis.report.environment import page_environment
from analysis.report.inline import inlined
from analysis.report.lead import answer, finished_points, rate_table
from analysis.report.live import LivePage, live_page
from analysis.report.reach import reachable
from analysis.report.sections import (
    TASKS_FIGURE,
    forecast_figure,
    rate_figure,
    section_figures,
    shown_isoflop,
)
from analysis.study.words import choice_of_a_row, excluded_warning
from analysis.tables.sweep import by_source, by_source_on_the_way
from analysis.tables.table import LossTable, load_table
from harness.records import sweep_file
from harness.records.columns import (
    EVAL_COLUMNS,
    checked_columns,
    checked_curves,
    checked_points,
)
from harness.records.errors import CONTRADICTIONS, Damaged, InputError
from harness.records.files import read_table, write_atomic
from harness.records.json_files import to_json
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepRecord

LONG_PARTS = ("recipe", "config", "cells")  # keys of sweep.json that the report folds away
MOST_LIVE_RUNS = 1500
AVERAGE_WORDS = {
    AveragedQuantity.E: "E, loss that remains, nats",
    AveragedQuantity.A_SIX_ND: "a, N* ∝ C^a, C = 6ND",
    AveragedQuantity.A_EXACT: "a, N* ∝ C^a, exact FLOPs",
}
KEPT = "sweep.json"  # that no command makes anew from the runs
TEMPLATE = "report.html.j2"
HOW_MADE = "type `python -m harness.sweep +grid=NAME` to train, fit and report a sweep"


@dataclass(frozen=True)
class Sweep:
    """The files of a finished sweep, or a table of other people's runs, which has no record of a sweep.

    `table` says what such a table is and how it was read, by name, and `source` how commands name the runs.
    """

    name: str
    points: pd.DataFrame
    curves: pd.DataFrame
    fits: StudyRecord
    forecasts: tuple[ForecastRecord, ...]
    about: SweepRecord | None
    emergence: EmergenceRecord | None = None
    evals: pd.DataFrame | None = None
    table: Mapping[str, str] = field(default_factory=dict)
    answers: Answers = NO_ANSWERS
    tried: tuple[Tried, ...] = ()
    source: Source | None = None

    @property
    def finished(self) -> pd.DataFrame:
        """Finished end points: fitted and held-out ones, or all of a learning-rate sweep."""
        return finished_points(self.fits, self.points)

    @property
    def scored(self) -> list[tuple[ForecastRecord, ScoreRecord | None]]:
        """Sealed forecasts, the quoted one first, else in the order of sealing, each with its score."""
        scores = {score.sha256: score for score in self.fits.scores if score.cells}
        # Files of earlier versions have one score and not the seal that it belongs to.
        old = scores.get(None)
        pairs = [
            (forecast, scores.get(forecast.sha256) or (old if number == 0 else None))
            for number, forecast in enumerate(self.forecasts)
        ]
        shown = self.fits.forecast
        return sorted(pairs, key=lambda pair: shown is not None and pair[1] != shown)

    @property
    def forecast(self) -> ForecastRecord | None:
        """The quoted forecast; None if none was sealed."""
        return self.scored[0][0] if self.forecasts else None

    @property
    def learning_rate(self) -> LearningRateRecord | None:
        """Result of a sweep over learning rates; None for other grids."""
        return self.fits.learning_rate

    @property
    def primary(self) -> FitRecord | None:
        """The parametric fit of the chosen law; None if no law could be fitted."""
        return next(iter(self.parametric), None)

    @property
    def parametric(self) -> list[FitRecord]:
        """Parametric fits under the primary count, the chosen law first."""
        chosen = self.fits.primary
        if not chosen:
            return []
        same = [fit for fit in self.fits.fits if fit.approach == "parametric" and fit.count == chosen.count]
        return sorted(same, key=lambda fit: fit.law != chosen.law)

    @property
    def chosen_under_each_count(self) -> list[FitRecord]:
        """Parametric fits of the chosen law, one a way to count N."""
        chosen = self.fits.primary
        return [
            fit for fit in self.fits.fits if chosen and (fit.approach, fit.law) == ("parametric", chosen.law)
        ]


def read_sweep(root: Path) -> Sweep:
    """Read the files of results/<sweep>/.

    Raises:
        InputError: no such folder, a file is missing, damaged or of another sweep, or there is no finished
            point.
    """
    folder = SweepFolder(root)
    if not root.is_dir():
        raise InputError(f"expected the folder of a sweep, got {root}, which does not exist; {HOW_MADE}")
    record = _read(folder.sweep, sweep_file.read_sweep)
    sweep = Sweep(
        root.resolve().name,
        _read(folder.points, read_table),
        _read(folder.curves, read_table),
        _read(folder.fits, read_study),
        tuple(read_own_forecasts(folder, record).values()),
        record,
        _read(folder.emergence, read_emergence) if folder.emergence.exists() else None,
    )
    if sweep.fits.sources:
        evals = checked_columns(_read(folder.evals, read_table), EVAL_COLUMNS, folder.evals)
        sweep = replace(sweep, evals=evals)
    points = checked_points(sweep.points, folder.points)
    sweep = replace(sweep, points=points, curves=checked_curves(sweep.curves, folder.curves))
    if sweep.finished.empty:
        raise InputError(f"{folder.points} has no finished point to report on; {HOW_MADE}")
    beyond = [entry.row for entry in sweep.fits.excluded if not 0 <= entry.row < len(points)]
    if beyond:
        raise InputError(
            f"{folder.fits} excludes row {beyond[0]} and {folder.points} has {len(points)} rows: they do not "
            f"belong together; {HOW_MADE}"
        )
    return replace(sweep, tried=_forecasts_on_the_way(sweep), source=_source(sweep))


def _source(sweep: Sweep) -> Source | None:
    """Return how commands name a sweep: by the folder in its record, so that a copy says the same."""
    if sweep.about is None or sweep.learning_rate:
        return None
    typed = sweep.about.config.get("results_dir") or f"results/{sweep.name}"
    largest = float(sweep.finished["flops"].max()) if sweep.fits.primary else None
    return Source.sweep(Path(typed), largest)


def _forecasts_on_the_way(sweep: Sweep) -> tuple[Tried, ...]:
    """Return where runs were going to end at shares of their training; nothing without curves."""
    if sweep.about is None or sweep.learning_rate or sweep.curves.empty:
        return ()
    # Curves that belong to other points than these say nothing; the rest of the report does not need them.
    with contextlib.suppress(*CONTRADICTIONS):
        return tuple(try_forecasts(finished_runs(sweep.about, sweep.curves, sweep.points)))
    return ()


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    if not path.exists():
        raise InputError(f"expected {path.name} in {path.parent}, found none; {HOW_MADE}")
    try:
        return reader(path)
    except Damaged as error:
        if path.name == KEPT:
            raise
        raise Damaged(path, error.reason, HOW_MADE) from error
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}; {HOW_MADE}") from error


def draw_figures(sweep: Sweep) -> dict[str, Figure]:
    """Return {name: figure} for every figure that the sweep has the data for."""
    arms = {"arms": plots.multipliers(sweep.fits.comparisons)} if sweep.fits.comparisons else {}
    return arms | _law_figures(sweep) | _source_figures(sweep) | _task_figures(sweep.emergence)


def _source_figures(sweep: Sweep) -> dict[str, Figure]:
    """Return the figures of the losses on the sources of a mixture, if the corpus is one."""
    if not sweep.fits.sources or sweep.evals is None:
        return {}
    ends, on_the_way = by_source(sweep.evals), by_source_on_the_way(sweep.evals)
    losses = ends.merge(sweep.finished[["point_id", "flops"]], on="point_id")
    return {
        "loss_by_source": plots.loss_by_source(losses, sweep.fits.sources),
        "loss_by_source_and_tokens": plots.loss_by_source_and_tokens(sweep.finished, ends, on_the_way),
    }


def _task_figures(found: EmergenceRecord | None) -> dict[str, Figure]:
    """Return the figure of the tasks on the first axis, and in-context learning, if tasks were evaluated."""
    if not found:
        return {}
    figures = {TASKS_FIGURE: plots.emergence_overview(found.first)} if found.first else {}
    return figures | ({"in_context": plots.in_context(found.in_context)} if found.in_context else {})


def _law_figures(sweep: Sweep) -> dict[str, Figure]:
    if sweep.learning_rate:
        groups = sweep.learning_rate.groups
        return {rate_figure(group.group): plots.learning_rate(group) for group in groups}
    done, fits, chosen, primary = sweep.finished, sweep.fits, sweep.fits.primary, sweep.primary
    figures = {"overview": plots.overview(done, fits.frontier)}
    if not sweep.curves.empty:
        figures["loss_curves"] = plots.loss_curves(done, sweep.curves)
        figures["loss_against_compute"] = plots.loss_against_compute(done, sweep.curves)
    if slices := shown_isoflop(fits):
        figures["isoflop"] = plots.isoflop(done, slices)
    if primary:
        figures["contours"] = plots.contours(done, primary, fits.frontier)
        figures["residuals"] = plots.residuals(done, sweep.parametric, fits.noise.pooled_relative)
        if primary.cloud:
            figures["cloud"] = plots.cloud(primary)
        # Above an objective of 0, as of a law that meets every loss, no rise can be shown in per cent.
        if primary.profile and all(entry.lowest > 0 for entry in primary.profile):
            figures["profile"] = plots.profiles(primary.profile)
    if fits.frontier and chosen:
        figures["frontier"] = plots.frontier(done, fits.frontier, chosen.count)
    if len({row.count for row in fits.frontier_by_count}) > 1:
        figures["counting"] = plots.counting(fits.frontier_by_count, sweep.chosen_under_each_count)
    for number, (forecast, score) in enumerate(sweep.scored, 1):
        figures[forecast_figure(number)] = plots.forecast_against_truth(forecast, score)
    if sweep.tried:
        figures["ends"] = plots.ends(sweep.tried)
    if fits.rollout and chosen:
        figures["rollout"] = plots.rollout(fits.rollout, chosen.law)
    return figures


def excluded_rows(sweep: Sweep) -> list[dict[Hashable, Any]]:
    """Return the rows of the points table that no fit saw, with the reason."""
    rows = sweep.points.to_dict("records")
    return [{"reason": entry.reason, **rows[entry.row]} for entry in sweep.fits.excluded]


def scored_tokens(about: SweepRecord | None) -> int | None:
    """Return the tokens scored at every end point; None if the record does not say."""
    data = about.config.get("data") if about else None
    found = data.get("eval_tokens") if isinstance(data, dict) else None
    return found if isinstance(found, int) else None


def svg_width(svg: str) -> float:
    """Return the width of a figure in points."""
    found = re.search(r'<svg[^>]*\bwidth="([0-9.]+)pt"', svg)
    return float(found.group(1)) if found else 0.0


def ordered_points(sweep: Sweep) -> pd.DataFrame:
    """Return all points in the order of the page's table."""
    return sweep.points.sort_values(["n_params", "n_tokens", "role", "seed"])


def explore(sweep: Sweep, table: LossTable | None = None) -> LivePage:
    """Return the live part of the page.

    A page of very many runs, which a browser would take long to draw, has no live figure. Its tables can be
    sorted and saved.

    Args:
        sweep: its files.
        table: the rows behind the laws; by default the finished points.
    """
    if len(sweep.finished) > MOST_LIVE_RUNS:
        return live_page(NOTHING)
    places = {index: place for place, index in enumerate(ordered_points(sweep).index)}
    found = _explored(sweep, table, places)
    return live_page(with_figures(found, section_figures(sweep, places, with_law=bool(found.laws))))


def _explored(sweep: Sweep, table: LossTable | None, places: Mapping[Any, int]) -> Explored:
    """Return runs and laws of a live page; of a sweep over learning rates the runs alone."""
    done, primary = sweep.finished, sweep.fits.primary
    if sweep.learning_rate:
        counts = counts_of(done, COUNTS[1])
        runs = run_rows(done, counts, (), None, places)
        names = [plots.style.COUNT_NAMES.get(name, name) for name in counts]
        return replace(NOTHING, data=NOTHING.data | {"runs": rounded(runs), "counts": names})
    # A stranger's points may be none that a law can be fitted to; then the runs are shown alone.
    with contextlib.suppress(InputError):
        if table is None and primary:
            table = load_table(done, count=primary.count)
        return explored(done, sweep.points, sweep.curves, sweep.fits, table, places, sweep.tried)
    return explored(done, sweep.points, sweep.curves, sweep.fits, None, places, sweep.tried)


def render(sweep: Sweep, svg: Mapping[str, str], live: LivePage | None = None) -> str:
    """Return the report as HTML text, with the figures inside; live if there is a live part."""
    done, fits = sweep.finished, sweep.fits
    record = to_json(sweep.about) if sweep.about else {}
    # Files of earlier versions do not say it.
    warnings = [*excluded_warning(fits), *fits.warnings]
    return reachable(
        page_environment()
        .get_template(TEMPLATE)
        .render(
            sweep=sweep,
            fits=fits,
            lead=answer(fits, sweep.points, sweep.emergence),
            corpus=corpus_section(sweep) if sweep.about else "",
            said_of_arms=[
                (each, [runs_line(each), shift_line(each), noise_line(each), seeds_line(each)])
                for each in fits.comparisons or ()
            ],
            rate_rows=rate_table(fits.learning_rate) if fits.learning_rate else [],
            doubts=own_doubts(warnings, fits.quoted, sweep.source),
            other_doubts=other_doubts(warnings, fits.quoted, fits.fits),
            unfolded=FOREMOST,
            primary=sweep.primary,
            rates=sweep.learning_rate,
            forecast=sweep.forecast,
            scored=sweep.scored,
            emergence=sweep.emergence,
            score=sweep.fits.forecast,
            on_the_way=score_ends(sweep.tried),
            tokens_scored=scored_tokens(sweep.about),
            about={key: value for key, value in record.items() if key not in ("schema", *LONG_PARTS)}
            or sweep.table,
            record=record,
            count_names=COUNT_WORDS
            | {fit.count: fit.count for fit in fits.fits if fit.count not in COUNT_WORDS},
            predicted=[answer_row(each) for each in sweep.answers.predictions],
            predicted_by=laws_text(sweep.answers.predictions[0].laws) if sweep.answers.predictions else "",
            average_names=AVERAGE_WORDS,
            done=done,
            rungs=done.sort_values("n_params").drop_duplicates("rung").to_dict("records"),
            points=ordered_points(sweep).to_dict("records"),
            answer_names=answer_names(sweep.answers.predictions),
            accuracy_text=accuracy_text,
            choice_of_a_row=choice_of_a_row,
            bits_per_nat=float((done["bits_per_byte"] / done["loss"]).mean()),
            excluded=excluded_rows(sweep) if sweep.about else [],
            # Everything else in the template is escaped.
            svg=inlined(svg),
            width={name: svg_width(text) for name, text in svg.items()},
            single=72 * plots.SINGLE,
            live=live,
        )
    )


def corpus_section(sweep: Sweep) -> Markup:
    """Return what was read and left out; raise InputError if no sweep wrote the report on its corpus.

    Each way to prepare a corpus reports its own steps, so their types are seen only here.
    """
    try:
        template = page_environment().get_template("corpus.html.j2")
        return Markup(template.render(sweep=sweep, done=sweep.finished))
    except (UndefinedError, TypeError, *CONTRADICTIONS) as error:
        raise InputError(
            f"sweep.json beside it reports on its corpus as no sweep does ({error}); put it back from a copy"
        ) from error


def write_report(root: Path) -> Path:
    """Write report.html and figures/ into the sweep's folder and return the path of the report.

    Raises:
        InputError: files are missing or damaged, contradict each other, or cannot be written.
    """
    folder = SweepFolder(root)
    sweep = read_sweep(root)
    try:
        figures = draw_figures(sweep)
        svg = {name: plots.to_svg(figure, name) for name, figure in figures.items()}
        page = render(sweep, svg, explore(sweep))
    except InputError as error:
        raise InputError(f"{folder.fits} cannot be shown: {error}") from error
    except CONTRADICTIONS as error:
        # The types are right, so each number is possible, and only together they are not.
        raise InputError(
            f"{folder.fits} and the tables beside it contradict each other "
            f"({type(error).__name__}: {error}): type the sweep's command again, which writes them anew"
        ) from error
    try:
        for name, figure in figures.items():
            plots.write_images(figure, svg[name], folder.figures, name)
        # A name may hold half a character, which has no UTF-8.
        write_atomic(folder.report, page.encode("utf-8", "replace"))
    except (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"cannot write {error.filename2 or error.filename} ({error.strerror}): expected a folder that "
            "may be written, move what stands in the way"
        ) from error
    return folder.report
