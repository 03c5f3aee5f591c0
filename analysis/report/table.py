"""The report of a table of other people's runs: the page of a sweep without what only a sweep records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import plots
from analysis.advice import Source
from analysis.prediction.answers import NO_ANSWERS, Answers
from analysis.records.fits import StudyRecord
from analysis.report.build import Sweep, draw_figures, explore, render
from analysis.tables.table import LossTable
from harness.records.errors import InputError
from harness.records.files import write_atomic


def write_table_report(
    path: Path,
    name: str,
    tables: Mapping[str, LossTable],
    study: StudyRecord,
    *,
    about: Mapping[str, str],
    answers: Answers = NO_ANSWERS,
    source: Source | None = None,
) -> None:
    """Write the report of a table as one HTML file.

    Args:
        path: the file.
        name: title of the page.
        tables: the table under each way of counting N, the primary one first.
        study: the analysis of these tables (`study_table`).
        about: what the table is and how it was read, by name, for the section on provenance.
        answers: answers to show.
        source: how commands name the table, for what to do about a warning.

    Raises:
        InputError: the file cannot be written.
    """
    sweep = Sweep(
        name,
        points_of_tables(tables),
        pd.DataFrame(),
        study,
        (),
        None,
        table=about,
        answers=answers,
        source=source,
    )
    svg = {name: plots.to_svg(figure, name) for name, figure in draw_figures(sweep).items()}
    primary = next(iter(tables.values()))
    # Excluded rows of the file are no points here.
    page = render(sweep, svg, explore(sweep, replace(primary, row=np.arange(len(primary)))))
    try:
        write_atomic(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "report") from error


def points_of_tables(tables: Mapping[str, LossTable]) -> pd.DataFrame:
    """Return the rows under the names of points.parquet that figures and page read."""
    table = next(iter(tables.values()))
    counts = {count: counted.n for count, counted in tables.items() if len(counted) == len(table)}
    return table.points().assign(
        **counts,
        n_params=table.n,
        flops_6nd=6 * table.n * table.d,
        bits_per_byte=np.nan,
        seed=0 if table.seed is None else table.seed,
        status="done",
        excluded_reason=None,
        point_id=table.row,
        run_id=table.cluster,
    )
