"""End of a sweep: seal the forecast, fit, write the report. Only here does the harness call the analysis.

Functions import the analysis themselves, so that the command starts without matplotlib and SciPy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from analysis.records.emergence import read_emergence
from analysis.records.fits import FrontierRow, ScoreRecord, StudyRecord, read_study
from analysis.records.forecast import read_forecast
from analysis.records.learning_rate import RateGroup
from harness.grid.cells import Cell
from harness.records.derived import Stage, hash_of_files, is_current, record_made
from harness.records.errors import Damaged, InputError
from harness.records.files import read_table, remove
from harness.records.json_files import write_record
from harness.records.number_text import estimate, number, si, together
from harness.records.paths import SweepFolder
from harness.records.provenance import code_revision
from harness.records.run_files import RunStatus
from harness.records.sweep_file import SweepRecord, read_sweep
from harness.runs.collect import cell_table, has_point
from harness.sweep.learned_rates import rule_line, write_rate_recipe
from harness.sweep.task_table import task_table

WAY_OUT = "put it back from a copy, or delete it and go on without a forecast with grid.holdout_factor=1"


def seal_forecast(
    folder: SweepFolder, points: pd.DataFrame, holdout: list[Cell], resamples: int, seed: int = 0
) -> bool:
    """Fit the cells trained so far, and write the sealed forecast of the held-out cells.

    Args:
        folder: folder of the sweep.
        points: points.parquet so far.
        holdout: held-out cells, of which none has been trained.
        resamples: bootstrap resamples behind the intervals.
        seed: seed of the bootstrap.

    Returns:
        False if the same table is sealed already, by an earlier invocation or another driver.
    """
    from analysis.forecast.seal import seal_forecast

    fitted = points[points.role == "fit"]
    if _is_sealed(folder, fitted, holdout):
        return False
    sealed = seal_forecast(
        fitted, cell_table(holdout), code_revision=code_revision(), resamples=resamples, seed=seed
    )
    # Sealing takes a while, and another driver of the sweep may have been faster: the first seal counts.
    if _is_sealed(folder, fitted, holdout):
        return False
    write_record(folder.forecast, sealed)
    return True


def _is_sealed(folder: SweepFolder, fitted: pd.DataFrame, holdout: list[Cell]) -> bool:
    """Return whether forecast.json forecasts these cells from this table."""
    from analysis.forecast.seal import table_sha256
    from analysis.tables.table import load_table

    try:
        sealed = read_forecast(folder.forecast)
    except InputError:  # Missing or damaged: no held-out cell is trained yet, so it can be made anew.
        return False
    cells = {(cell.rung, cell.n_tokens) for cell in sealed.cells}
    same_cells = cells == {(cell.spec.rung, cell.n_tokens) for cell in holdout}
    return same_cells and sealed.table_sha256 == table_sha256(load_table(fitted))


def check_forecast(cells: list[Cell]) -> None:
    """Raise InputError if the hold-out leaves too few cells to fit the competing laws."""
    from analysis.contest.adequacy import LARGEST
    from analysis.laws import find_law

    if not any(cell.role == "holdout" for cell in cells):
        return
    need = len(find_law(LARGEST).params)
    fitted = {(cell.spec.rung, cell.n_tokens, cell.spec.seed) for cell in cells if cell.role == "fit"}
    sizes, tokens = ({key[index] for key in fitted} for index in (0, 1))
    if len(fitted) < need or min(len(sizes), len(tokens)) < 2:
        raise InputError(
            f"grid.holdout_factor leaves {len(fitted)} cells to fit (sizes: {len(sizes)}, token counts: "
            f"{len(tokens)}), the forecast needs {need} (2, 2); lower it (1 holds nothing out) or add cells"
        )


def forecastable(cells: list[Cell]) -> bool:
    """Return whether the fitted cells of a plan suffice for a forecast of the others."""
    try:
        check_forecast(cells)
    except InputError:
        return False
    return True


def check_sealed(folder: SweepFolder, cells: list[Cell], before: SweepRecord | None) -> None:
    """Check that forecast.json is the sweep's own if it can no longer be sealed anew.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
        before: record of earlier invocations, which has the seal; None if there was none.

    Raises:
        InputError: held-out cells are trained, and their forecast is gone, damaged or another sweep's.
    """
    holdout = [cell for cell in cells if cell.role == "holdout"]
    if not any(has_point(folder, cell) for cell in holdout):
        return
    path, sealed_before = folder.forecast, before.forecast_sha256 if before else None
    if not path.exists():
        if sealed_before is None and not _was_scored(folder):
            return
        raise InputError(f"{path} is gone, and held-out cells are trained, so none can be sealed; {WAY_OUT}")
    try:
        found = read_forecast(path)
    except Damaged as error:
        raise Damaged(path, error.reason, WAY_OUT) from error
    if not found.seal_intact:
        raise Damaged(path, "its seal is broken", WAY_OUT)
    own = {(cell.spec.rung, cell.n_tokens, cell.flops) for cell in cells}
    its = {(cell.rung, cell.n_tokens, cell.flops) for cell in found.cells}
    if found.sha256 != sealed_before if sealed_before else not own & its:
        raise InputError(f"{path} is not the forecast that this sweep sealed; {WAY_OUT}")


def _was_scored(folder: SweepFolder) -> bool:
    """Return whether fits.json has the score of a forecast."""
    try:
        return read_study(folder.fits).forecast is not None
    except InputError:
        return False


def seal_of(folder: SweepFolder) -> str | None:
    """Return the seal of forecast.json; None if there is none, or a broken one."""
    try:
        found = read_forecast(folder.forecast)
    except InputError:
        return None
    return found.sha256 if found.seal_intact else None


def conclude(folder: SweepFolder, resamples: int) -> StudyRecord:
    """Fit the tables; write fits.json, figures and report.html, as far as they are not up to date.

    A sweep with tasks also gets emergence.json, and a learning-rate sweep the recipe optim.yaml.

    Returns:
        Content of fits.json.
    """
    from analysis.report.build import write_report

    result = _fitted(folder, resamples)
    if result is None:
        result = _fit(folder, resamples)
    inputs = made_from(folder, Stage.TASKS, resamples)
    if not is_current(folder, Stage.TASKS, inputs):
        _study_tasks(folder)
        record_made(folder, Stage.TASKS, inputs, [folder.emergence])
    inputs = made_from(folder, Stage.REPORT, resamples)
    if not is_current(folder, Stage.REPORT, inputs):
        before = _figures(folder)
        write_report(folder.root)
        drawn = (path for path, version in _figures(folder).items() if version != before.get(path))
        record_made(folder, Stage.REPORT, inputs, [folder.report, *drawn])
    return result


def _figures(folder: SweepFolder) -> dict[Path, tuple[int, int]]:
    """Return inode and time of every figure: a figure that is drawn again is a new file."""
    found = {path: path.stat() for path in folder.figures.glob("*")}
    return {path: (status.st_ino, status.st_mtime_ns) for path, status in found.items()}


def concluded(folder: SweepFolder, resamples: int) -> StudyRecord | None:
    """Return the content of fits.json if fits, verdicts and report are up to date, else None."""
    later = (Stage.TASKS, Stage.REPORT)
    done = all(is_current(folder, stage, made_from(folder, stage, resamples)) for stage in later)
    return _fitted(folder, resamples) if done else None


def _fitted(folder: SweepFolder, resamples: int) -> StudyRecord | None:
    """Return the content of fits.json if it was made from these tables and this forecast, else None."""
    inputs = made_from(folder, Stage.FITS, resamples)
    return read_study(folder.fits) if is_current(folder, Stage.FITS, inputs) else None


def _fit(folder: SweepFolder, resamples: int) -> StudyRecord:
    """Fit the tables, and write fits.json and optim.yaml."""
    from analysis.study.study import study_sweep

    inputs = made_from(folder, Stage.FITS, resamples)
    points = read_table(folder.points)
    curves = read_table(folder.curves)
    forecast = read_forecast(folder.forecast) if folder.forecast.exists() else None
    result = study_sweep(points, curves, forecast, floor=_floor(folder), resamples=resamples)
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


def made_from(folder: SweepFolder, stage: Stage, resamples: int) -> str:
    """Return a hash of all that fits, verdicts on tasks, or the report is made from."""
    inputs = {
        Stage.FITS: (folder.points, folder.curves, folder.forecast),
        Stage.TASKS: (folder.points, folder.evals, folder.items),
        Stage.REPORT: (folder.points, folder.curves, folder.forecast, folder.fits, folder.emergence),
    }
    return hash_of_files(inputs[stage], *([resamples] if stage == Stage.FITS else []))


def _study_tasks(folder: SweepFolder) -> None:
    """Write emergence.json; if the tasks cannot be analysed, print the reason and go on without it."""
    from analysis.emergence.study import conclude as study_tasks

    if not folder.evals.exists():
        remove(folder.emergence)
        return
    try:
        study_tasks(folder.root)
    except InputError as error:
        remove(folder.emergence)
        print(f"warning: the tasks are not analysed: {error}", file=sys.stderr)


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
    if result.forecast:
        console.print(_forecast_line(result.forecast))
    if folder.evals.exists():
        console.print(task_table(read_table(folder.evals), read_table(folder.points)))
    if folder.emergence.exists():
        console.print(read_emergence(folder.emergence).verdict)
    for warning in result.warnings:
        console.print(f"warning [{warning.code}]: {warning.message}")
    console.print(result.verdict)
    if rates and folder.optim.exists():
        for group in rates.groups:
            console.print(f"best rate of {rule_line(group)}")
        console.print(f"to train with these rates: optim={folder.optim}")
    console.print(f"report: {folder.report}")


def _forecast_line(score: ScoreRecord) -> str:
    """Return the score of the sealed forecast in one line."""
    far = score.rms_percent_10x
    beyond = "" if far is None else f", {far:.2f} % at 10× the fitted compute and more"
    return (
        f"sealed forecast of {len(score.cells)} held-out cells: RMS error {score.rms_percent:.2f} %"
        f"{beyond}; {score.inside_share:.0%} inside their intervals"
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
    mark = "chosen by the rule, not to be quoted" if result.objection else "recommended"
    title = f"{_title('N* ∝ C^a', shown)} (→ {mark})"
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
        ["rung", "tokens", "recipe", "best", "interval", "recipe costs", "1 % at", "not counted"],
    )
    for row in group.optima:
        cost, width = row.recipe_cost_percent, row.half_width
        best, between = together(row.rate_opt, row.rate_interval)
        table.add_row(
            row.rung,
            f"{row.n_tokens:.3g}",
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
