"""End of a sweep: fit the tables and write the report.

Functions import the analysis themselves, so that the command starts without matplotlib and SciPy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from analysis.advice import Source, next_steps
from analysis.records.emergence import read_emergence
from analysis.records.fits import StudyRecord, read_study
from analysis.records.forecast import ScoreRecord, read_own_forecasts
from analysis.records.frontier import FrontierRow
from analysis.records.learning_rate import RateGroup
from harness.records.columns import OF_SOURCE
from harness.records.derived import Stage, hash_of_files, is_current, record_made
from harness.records.errors import InputError
from harness.records.files import read_table, remove
from harness.records.json_files import write_record
from harness.records.number_text import estimate, number, si, together
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.records.sweep_file import find_sweep, read_sweep
from harness.sweep.eval_tables import source_table, task_table
from harness.sweep.learned_rates import rule_line, write_rate_recipe


def conclude(folder: SweepFolder, resamples: int, *, brief: bool = False) -> StudyRecord:
    """Fit the tables; write fits.json, figures and report.html, as far as they are not up to date.

    A sweep with tasks also gets emergence.json, and a learning-rate sweep the recipe optim.yaml.

    Args:
        folder: folder of the sweep.
        resamples: bootstrap resamples behind the intervals.
        brief: write no report, and leave out of fits.json what only a report shows.

    Returns:
        Content of fits.json.
    """
    from analysis.report.build import write_report

    result = _fitted(folder, resamples, brief)
    if result is None:
        result = _fit(folder, resamples, brief)
    inputs = made_from(folder, Stage.TASKS, resamples)
    if not is_current(folder, Stage.TASKS, inputs):
        _study_tasks(folder)
        record_made(folder, Stage.TASKS, inputs, [folder.emergence])
    inputs = made_from(folder, Stage.REPORT, resamples)
    if not brief and not is_current(folder, Stage.REPORT, inputs):
        before = _figures(folder)
        write_report(folder.root)
        drawn = (path for path, version in _figures(folder).items() if version != before.get(path))
        record_made(folder, Stage.REPORT, inputs, [folder.report, *drawn])
    return result


def _figures(folder: SweepFolder) -> dict[Path, tuple[int, int]]:
    """Return inode and time of every figure: a figure that is drawn again is a new file."""
    found = {path: path.stat() for path in folder.figures.glob("*")}
    return {path: (status.st_ino, status.st_mtime_ns) for path, status in found.items()}


def concluded(folder: SweepFolder, resamples: int, *, brief: bool = False) -> StudyRecord | None:
    """Return the content of fits.json if fits, verdicts and, unless `brief`, the report are up to date."""
    later = (Stage.TASKS,) if brief else (Stage.TASKS, Stage.REPORT)
    done = all(is_current(folder, stage, made_from(folder, stage, resamples)) for stage in later)
    return _fitted(folder, resamples, brief) if done else None


def _fitted(folder: SweepFolder, resamples: int, brief: bool) -> StudyRecord | None:
    """Return the content of fits.json if it was made from these tables and this forecast, else None."""
    inputs = made_from(folder, Stage.FITS, resamples, brief=brief)
    return read_study(folder.fits) if is_current(folder, Stage.FITS, inputs) else None


def _fit(folder: SweepFolder, resamples: int, brief: bool) -> StudyRecord:
    """Fit the tables, and write fits.json and optim.yaml."""
    from analysis.study.study import study_sweep

    inputs = made_from(folder, Stage.FITS, resamples, brief=brief)
    points = read_table(folder.points)
    curves = read_table(folder.curves)
    forecasts = list(read_own_forecasts(folder, find_sweep(folder.sweep)).values())
    evals = read_table(folder.evals) if folder.evals.exists() else None
    result = study_sweep(
        points,
        curves,
        forecasts,
        floor=_floor(folder),
        evals=evals,
        unigram=_unigram(folder),
        resamples=resamples,
    )
    if brief:
        result = shortened(result)
    made = [folder.fits]
    if result.learning_rate:
        write_rate_recipe(folder, result.learning_rate)
        made.append(folder.optim)
    write_record(folder.fits, result)
    record_made(folder, Stage.FITS, inputs, made)
    return result


def _floor(folder: SweepFolder) -> float | None:
    """Return the entropy rate of the sweep's source, nats per token; None for text."""
    corpus = read_sweep(folder.sweep).corpus
    return corpus.entropy_rate if corpus else None


def _unigram(folder: SweepFolder) -> dict[str, float]:
    """Return the loss of a unigram model on each source of a mixture, nats per token."""
    corpus = read_sweep(folder.sweep).corpus
    sources = corpus.report.get("sources", {}) if corpus else {}
    return {name: found["unigram_nats"] for name, found in sources.items()}


def shortened(study: StudyRecord) -> StudyRecord:
    """Return a study without what only a report shows: other approaches and counts, rollouts, profiles."""
    quoted = study.quoted
    rivals = [
        fit
        for fit in study.fits
        if quoted and fit != quoted and (fit.approach, fit.count) == (quoted.approach, quoted.count)
    ]
    kept = [replace(fit, cloud=None, profile=None) for fit in ([quoted] if quoted else []) + rivals]
    return replace(
        study,
        fits=tuple(kept),
        recommended=0 if quoted else None,
        rollout=(),
        frontier_by_count=(),
    )


def made_from(folder: SweepFolder, stage: Stage, resamples: int, *, brief: bool = False) -> str:
    """Return a hash of all that fits, verdicts on tasks, or the report is made from."""
    forecasts = read_own_forecasts(folder, find_sweep(folder.sweep))
    inputs = {
        Stage.FITS: (folder.points, folder.curves, folder.evals, *forecasts),
        Stage.TASKS: (folder.points, folder.evals, folder.items),
        Stage.REPORT: (
            folder.points,
            folder.curves,
            folder.evals,
            folder.fits,
            folder.emergence,
            *forecasts,
        ),
    }
    # A brief study is not taken for a whole one, which the sweep's own command makes.
    how = [resamples, *(["brief"] if brief else [])] if stage == Stage.FITS else []
    return hash_of_files(inputs[stage], *how)


def _study_tasks(folder: SweepFolder) -> None:
    """Write emergence.json; if the tasks cannot be analysed, print the reason and go on without it."""
    from analysis.emergence.study import conclude as study_tasks

    if not has_tasks(folder):
        remove(folder.emergence)
        return
    try:
        study_tasks(folder.root)
    except InputError as error:
        remove(folder.emergence)
        print(f"warning: the tasks are not analysed: {error}", file=sys.stderr)


def has_tasks(folder: SweepFolder) -> bool:
    """Return whether the sweep evaluated tasks: sources of a mixture are in evals.parquet too."""
    return folder.evals.exists() and bool((read_table(folder.evals)["split"].fillna("") != OF_SOURCE).any())


def print_conclusion(console: Console, folder: SweepFolder, result: StudyRecord) -> None:
    """Print exponents, frontier and forecast, or the best learning rates, and the path of the report."""
    rates = result.learning_rate
    if rates:
        for group in rates.groups:
            console.print(_learning_rates(group))
    elif result.primary:
        console.print(_exponents(result))
    if result.frontier:
        console.print(_frontier(result.frontier))
    print_scores(console, result)
    if result.sources:
        console.print(source_table(read_table(folder.evals), read_table(folder.points)))
    if has_tasks(folder):
        console.print(task_table(read_table(folder.evals), read_table(folder.points)))
    if folder.emergence.exists():
        console.print(read_emergence(folder.emergence).verdict)
    if result.comparisons:
        from analysis.compare.text import arms_text

        console.print(arms_text(result.comparisons), highlight=False, soft_wrap=True)
    for warning in result.warnings:
        console.print(warning.line, highlight=False)
    console.print(result.verdict)
    for step in next_steps(result.warnings, _source(folder, result)):
        console.print(step, highlight=False, soft_wrap=True)
    if rates and folder.optim.exists():
        for group in rates.groups:
            console.print(f"best rate of {rule_line(group)}")
        console.print(f"to train with these rates: optim={folder.optim}")
    console.print(f"report: {folder.report}")


def _source(folder: SweepFolder, result: StudyRecord) -> Source:
    """Return how commands name the sweep, for what to do about a warning."""
    fitted = [fit.estimation.largest_flops for fit in result.fits if fit.estimation]
    return Source.sweep(folder.root, max(fitted) if result.primary and fitted else None)


def print_scores(console: Console, result: StudyRecord) -> None:
    """Print the score of each sealed forecast in a line."""
    for score in result.scores:
        console.print(forecast_line(score, dated=len(result.scores) > 1))


def forecast_line(score: ScoreRecord, *, dated: bool = False) -> str:
    """Return the score of a sealed forecast in one line, `dated` if there are several."""
    when = f" of {score.created}" if dated else ""
    if not score.cells:
        return f"sealed forecast{when}: none of its {len(score.missing)} cells is finished"
    far = score.rms_percent_10x
    beyond = "" if far is None else f", {far:.2f} % at 10× the fitted compute and more"
    missing = f" ({len(score.missing)} more are not finished)" if score.missing else ""
    return (
        f"sealed forecast{when}, {len(score.cells)} held-out cells{missing}: RMS error "
        f"{score.rms_percent:.2f} %{beyond}; {score.inside_share:.0%} inside their intervals"
    )


def _table(title: str, columns: list[str]) -> Table:
    """Return an empty table."""
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in columns:
        # A narrow terminal breaks a cell at its blank; it never cuts a number.
        table.add_column(name, overflow="fold")
    return table


def _exponents(result: StudyRecord) -> Table:
    """Return a row per fit that gives a frontier; Kaplan's one-axis laws give none and are in the report."""
    from analysis.laws import family
    from analysis.study.words import choice_of_a_row

    shown = []
    for index, fit in enumerate(result.fits):
        if fit.frontier.a is not None:
            bounds = [fit.interval.get(name) for name in ("alpha", "beta", "E")]
            values = [fit.params.get(name) for name in ("alpha", "beta", "E")]
            shown.append(
                (
                    "→" if index == result.recommended else "",
                    fit.approach,
                    family(fit.law),
                    fit.count.removeprefix("n_params_").replace("n_params", "all"),
                    estimate(fit.frontier.a, fit.frontier.a_interval),
                    *map(estimate, values, bounds),
                )
            )
    title = f"{_title('N* ∝ C^a', shown)} (→ {choice_of_a_row(result)})"
    table = _table(title, ["", "approach", "law", "N", "a", "alpha", "beta", "E"])
    for texts in shown:
        table.add_row(*texts)
    return table


def _frontier(rows: Sequence[FrontierRow]) -> Table:
    """Return a row per compute budget: optimal N and D, and the loss, with intervals."""
    shown = [
        (
            f"{row.flops:.1e}",
            estimate(row.n_opt, (row.n_low, row.n_high), spell=si),
            estimate(row.d_opt, (row.d_low, row.d_high), spell=si),
            estimate(row.loss, (row.loss_low, row.loss_high)),
        )
        for row in rows
    ]
    table = _table(_title("compute-optimal frontier", shown), ["FLOPs", "N*", "D*", "loss"])
    for texts in shown:
        table.add_row(*texts)
    return table


def _title(what: str, rows: Sequence[Sequence[str]]) -> str:
    """Return the title of a table, which promises intervals only if there are some."""
    return f"{what}, with intervals" if any("[" in text for row in rows for text in row) else what


def _learning_rates(group: RateGroup) -> Table:
    """Return a row per cell: best rate of a group, its interval, and the cost of the recipe's rate."""
    table = _table(
        f"best {group.group} rate ({group.column})",
        ["rung", "tokens", "batch", "recipe", "best", "interval", "recipe costs", "1 % at", "not counted"],
    )
    for row in group.optima:
        cost, width = row.recipe_cost_percent, row.half_width
        best, between = together(row.rate_opt, row.rate_interval)
        table.add_row(
            row.rung,
            f"{row.n_tokens:.3g}",
            "–" if row.batch_tokens is None else si(row.batch_tokens),
            number(row.recipe_rate),
            best,
            between,
            "–" if cost is None else f"{'' if row.interior else '≥ '}{cost:.2f} %",
            "–" if width is None else f"×{width:.2f}",
            row.reason or "",
        )
    return table


def enough_to_fit(points: pd.DataFrame) -> None:
    """Raise InputError if no run is done."""
    if not (points.status == RunStatus.DONE).any():
        raise InputError("no run finished, so there is nothing to fit; see the log.txt files under runs/")
