"""The folder of a finished sweep as one object: its tables, and what was concluded from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis.records.fits import StudyRecord, read_study
from analysis.records.forecast import ForecastRecord, read_own_forecasts
from harness.records.columns import OF_SOURCE
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from harness.records.sweep_file import find_sweep


@dataclass(frozen=True)
class Sweep:
    """A finished sweep, results/<sweep>/; each file is read when it is first asked for.

    Attributes:
        folder: names of the files.
        points: one row a finished end point (columns in results/README.md).
    """

    folder: SweepFolder
    points: pd.DataFrame

    @cached_property
    def curves(self) -> pd.DataFrame | None:
        """Losses along training, one row a logged step; None without curves.parquet."""
        return _table(self.folder.curves)

    @cached_property
    def evals(self) -> pd.DataFrame | None:
        """Task evaluations, one row a metric; None without evals.parquet."""
        return _table(self.folder.evals)

    @cached_property
    def fits(self) -> StudyRecord | None:
        """Content of fits.json: all fits, the verdict and the score of the forecast; None without it."""
        return read_study(self.folder.fits) if self.folder.fits.exists() else None

    @cached_property
    def forecast(self) -> ForecastRecord | None:
        """Content of forecast.json, sealed before the hold-out was trained; None without it."""
        return self._forecasts.get(self.folder.forecast)

    @cached_property
    def forecasts(self) -> tuple[ForecastRecord, ...]:
        """All sealed forecasts, in the order of sealing: a sweep that grew has several."""
        return tuple(self._forecasts.values())

    @cached_property
    def _forecasts(self) -> dict[Path, ForecastRecord]:
        """Forecasts that the sweep sealed, by file."""
        return read_own_forecasts(self.folder, find_sweep(self.folder.sweep))

    def losses_by_source(self) -> pd.DataFrame:
        """Return the loss of each end point that counts on each source of a mixture.

        Returns:
            One row a point and source: `source`, `loss` and `loss_sem` on its held-out text in nats per
            token, and the columns of the point.

        Raises:
            InputError: the sweep was not trained on a mixture.
        """
        evals = self.evals
        losses = None if evals is None else by_source(evals)
        if losses is None or losses.empty:
            raise InputError(
                f"{self.folder.root} has no losses by source: give a sweep that was trained with data=mixture"
            )
        return losses.merge(self.done().drop(columns=["loss", "loss_sem"]), on="point_id")

    def done(self) -> pd.DataFrame:
        """Return the end points that count: finished, and neither reference nor learning-rate runs."""
        counts = (self.points["status"] == "done") & self.points["role"].isin(["fit", "holdout"])
        return self.points[counts].reset_index(drop=True)

    def __repr__(self) -> str:
        return f"Sweep({self.folder.root.as_posix()}, {len(self.points)} points)"


def read_sweep(folder: str | Path) -> Sweep:
    """Read the folder of a sweep.

    Args:
        folder: results/<sweep>, as `python -m harness.sweep` leaves it.

    Returns:
        The sweep; `points` is a table for `fit_law`, `study_sweep` and all other functions on tables.

    Raises:
        InputError: the folder holds no points.parquet.

    Examples:
        >>> import analysis as sl
        >>> sweep = sl.read_sweep("results/chinchilla")
        >>> sweep.done()["status"].unique().tolist()
        ['done']
    """
    files = SweepFolder(Path(folder))
    if not files.points.exists():
        raise InputError(
            f"{files.points} is not there: give the folder of a sweep such as results/chinchilla"
        )
    return Sweep(files, read_table(files.points))


def by_source(evals: pd.DataFrame) -> pd.DataFrame:
    """Return the losses of end points on the sources of a mixture, maybe no row.

    The columns are `point_id`, `source`, `loss` and `loss_sem`.

    Args:
        evals: evals.parquet.
    """
    rows = evals[(evals["split"] == OF_SOURCE) & (evals["metric"] == "loss")]
    rows = rows[rows["point_id"].notna()]  # Others are of a trunk on the way.
    names = {"task": "source", "value": "loss", "sem": "loss_sem"}
    return rows.rename(columns=names)[["point_id", *names.values()]].reset_index(drop=True)


def by_source_on_the_way(evals: pd.DataFrame) -> pd.DataFrame:
    """Return the losses of trunks on the way on the sources of a mixture, maybe no row.

    The columns are `run_id`, `n_tokens`, `source` and `loss`, in nats per token. The rate has not cooled down
    there, so a loss lies above that of an end point.

    Args:
        evals: evals.parquet.
    """
    rows = evals[(evals["split"] == OF_SOURCE) & (evals["metric"] == "loss") & evals["point_id"].isna()]
    rows = rows.rename(columns={"task": "source", "value": "loss"})
    return rows[["run_id", "n_tokens", "source", "loss"]].reset_index(drop=True)


def _table(path: Path) -> pd.DataFrame | None:
    return read_table(path) if path.exists() else None
