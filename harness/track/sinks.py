"""Copies of curves and points for Weights & Biases, TensorBoard or MLflow, made by the driver from files.

They are off unless `sinks` names them, and the tables stay the source of truth. A sink that breaks is
reported once and left out: it never stops a sweep. Names of metrics, all logged by step:

    train_loss, …                      of a trunk
    branch-<n_tokens>/train_loss, …    of the branch to an end point
    point/loss, …                      measured at end points
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import pandas as pd

from harness.recipe.spec import Job
from harness.records.errors import Damaged, InputError, near
from harness.records.files import read_table
from harness.records.json_files import read_checked, write_checked
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepRecord

# Module that each sink needs; the extra that installs it has the sink's name.
MODULES = {"wandb": "wandb", "tensorboard": "tensorboardX", "mlflow": "mlflow"}
METRICS = ("train_loss", "eval_loss", "hidden_lr", "grad_norm", "tokens_per_second", "mfu")
POINT_METRICS = ("loss", "loss_sem", "bits_per_byte", "n_tokens", "flops", "seconds")
FEED_SECONDS = 15.0


def check_sinks(names: list[str]) -> None:
    """Raise InputError for an unknown sink."""
    for name in names:
        if name not in MODULES:
            known = list(MODULES)
            raise InputError(f"sinks={name} is not known; use some of {', '.join(known)}{near(name, known)}")


def check_installed(names: list[str]) -> None:
    """Raise InputError for a sink whose package is missing."""
    for name in names:
        if importlib.util.find_spec(MODULES[name]) is None:
            raise InputError(
                f"sinks=[{name}] needs {MODULES[name]}, which is not installed; type uv sync --extra {name}"
            )


class Writer(Protocol):
    """One run in one sink."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log the metrics of one step; steps of different metrics may come in any order."""

    def close(self) -> None:
        """Flush; the run may be opened again later."""


class Sinks:
    """Every sink that the configuration names.

    Args:
        names: names of sinks, keys of WRITERS.
        folder: folder of the sweep.
        record: content of sweep.json.
        tell: receives one line if a sink breaks.
    """

    def __init__(
        self, names: list[str], folder: SweepFolder, record: SweepRecord, tell: Callable[[str], None]
    ):
        self._names = list(names)
        self._folder = folder
        self._record = record
        self._tell = tell
        self._fed_at = 0.0
        self._writers: dict[tuple[str, str], Writer] = {}

    def watch(self, running: list[Job]) -> None:
        """Copy the rows that running jobs have saved, at most every FEED_SECONDS."""
        if self._names and time.monotonic() - self._fed_at > FEED_SECONDS:
            self._fed_at = time.monotonic()
            for job in running:
                self._feed(job)

    def finish(self, job: Job) -> None:
        """Copy the remaining rows of a job and close its writers."""
        if self._names:
            self._feed(job)
            for key in [key for key in self._writers if key[1] == job.spec.run_id]:
                self._try(key[0], self._writers.pop(key).close)

    def close(self) -> None:
        """Close all writers, at the end of the driver."""
        for (name, _), writer in self._writers.items():
            self._try(name, writer.close)
        self._writers.clear()

    def _feed(self, job: Job) -> None:
        """Copy the new rows of a job to every sink."""
        for name in list(self._names):
            self._try(name, partial(self._copy, name, job))

    def _copy(self, name: str, job: Job) -> None:
        """Copy to one sink the rows that neither this driver nor an earlier one has given it."""
        path = self._folder.run(job.spec.run_id).sinks
        try:
            given = read_checked(path)
        except Damaged:  # Missing or damaged: rows are given twice rather than never.
            given = {}
        rows = new_rows(self._folder, job, given.setdefault(name, {}))
        if not rows:
            return
        key = name, job.spec.run_id
        if key not in self._writers:
            self._writers[key] = WRITERS[name](self._folder, self._record, job)
        # Recorded after logging: a driver that is killed in between logs some rows twice and loses none.
        for step, values in rows:
            self._writers[key].log(step, values)
        write_checked(path, given)

    def _try(self, name: str, act: Callable[[], None]) -> None:
        """Run an action of a sink; drop the sink if it raises."""
        try:
            act()
        # Any exception: what other packages raise over a network is not known here.
        except Exception as error:
            self._names = [other for other in self._names if other != name]
            reason = f"{type(error).__name__}: {error}".split("\n")[0]
            self._tell(f"warning: {name} takes no more and is left out ({reason}); the tables are complete")


Row = tuple[int, dict[str, float]]


def new_rows(folder: SweepFolder, job: Job, given: dict[str, int]) -> list[Row]:
    """Return the steps and metrics that a run has saved and a sink does not have.

    Args:
        folder: folder of the sweep.
        job: the run.
        given: last step that the sink has, by segment or point; updated in place.
    """
    run = folder.run(job.spec.run_id)
    rows: list[Row] = []
    # Names of parts end in their first and last step, so parts that were copied need not be read.
    for path in sorted(run.curves.glob("*.parquet")):
        prefix, _, last = path.stem.rsplit("-", 2)
        if int(last) <= given.get(prefix, -1):
            continue
        try:
            part = read_table(path)
        except Damaged:  # The end of the sweep has what it held trained again.
            continue
        for row in part.to_dict("records"):
            if row["step"] > given.get(prefix, -1):
                name = "" if prefix == "trunk" else f"{prefix}/"
                rows.append((int(row["step"]), _named(row, METRICS, name)))
        given[prefix] = int(last)
    for n_tokens in job.n_tokens:
        point_id = job.spec.point_id(n_tokens)
        if point_id not in given and (values := _point(folder, job.spec.run_id, point_id)):
            rows.append((job.spec.n_steps(n_tokens), _named(values, POINT_METRICS, "point/")))
            given[point_id] = job.spec.n_steps(n_tokens)
    return rows


def _point(folder: SweepFolder, run_id: str, point_id: str) -> dict[str, Any]:
    """Return a recorded end point; empty if there is none, or one that cannot be read."""
    path = folder.run(run_id).point(point_id)
    try:
        values: dict[str, Any] = read_checked(path)
    except Damaged:
        return {}
    return values


def _named(row: Mapping[Any, Any], names: tuple[str, ...], prefix: str) -> dict[str, float]:
    """Return the metrics of `names` that have a value, with a prefix to their names."""
    return {prefix + name: float(row[name]) for name in names if not pd.isna(row.get(name))}


def label(job: Job) -> str:
    """Return the name of a run for people: rung, seed and run_id."""
    return f"{job.spec.rung}-seed{job.spec.seed}-{job.spec.run_id}"


class TensorBoard:
    """Event files under results/<sweep>/tensorboard/."""

    def __init__(self, folder: SweepFolder, record: SweepRecord, job: Job):  # noqa: ARG002
        # Imported here, because the package of a sink is an extra.
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder.root / "tensorboard" / label(job)))

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project `scaling-<grid>`, or of $WANDB_PROJECT; WANDB_MODE=offline keeps it on disk."""

    def __init__(self, folder: SweepFolder, record: SweepRecord, job: Job):
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", f"scaling-{record.grid}"),
            group=folder.root.name,
            id=job.spec.run_id,
            name=label(job),
            config=job.spec.to_dict(),
            dir=str(folder.root),
            resume="allow",
            reinit="create_new",
        )
        # Branches log steps that the trunk has passed already; without an axis of its own W&B drops them.
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"step": step} | values)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of the experiment `scaling-<grid>` on $MLFLOW_TRACKING_URI, or under results/<sweep>/mlflow/."""

    def __init__(self, folder: SweepFolder, record: SweepRecord, job: Job):
        # Allows a store of plain files, which needs no database package; without effect if a server is given.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        local = (folder.root / "mlflow").resolve().as_uri()
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", local))
        name = f"scaling-{record.grid}"
        experiment = self._client.get_experiment_by_name(name)
        where = experiment.experiment_id if experiment else self._client.create_experiment(name)
        # A resumed sweep goes on in the same MLflow run.
        before = self._client.search_runs([where], f"params.run_id = '{job.spec.run_id}'", max_results=1)
        run = before[0] if before else self._client.create_run(where, run_name=label(job))
        self._run_id = run.info.run_id
        for key, value in {"run_id": job.spec.run_id, "rung": job.spec.rung, "seed": job.spec.seed}.items():
            self._client.log_param(self._run_id, key, value)

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


WRITERS: dict[str, Callable[[SweepFolder, SweepRecord, Job], Writer]] = {
    "wandb": WeightsAndBiases,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}
