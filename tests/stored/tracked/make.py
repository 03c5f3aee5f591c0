"""Makes the files beside it, by the libraries that people log with.

Made with tensorboardX 2.6.5, tensorboard 2.21.0, wandb 0.31.0 and mlflow-skinny 3.17.2, which need not be
installed to run the tests, beside the packages of this project, by `python -m tests.stored.tracked.make`.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

from tests.analysis.trackers.truth import FEW, RUNS, TOKENS_PER_STEP

HERE = Path(__file__).parent


def tensorboardx() -> None:
    """All runs, a folder each; the first run was killed and began again at its fourth row."""
    from tensorboardX import SummaryWriter

    for run in RUNS:
        parts = [run.steps[:6], run.steps[4:]] if run is RUNS[0] else [run.steps]
        for number, steps in enumerate(parts):
            with SummaryWriter(str(HERE / "tensorboardx" / run.name), filename_suffix=f".{number}") as writer:
                writer.add_text("command", "python train.py")
                for step in steps:
                    # The part that was trained again came to another loss.
                    off = 0.5 if len(parts) > 1 and number == 0 and step in parts[1] else 0.0
                    writer.add_scalar("val/loss", run.loss(step) + off, step)
                    writer.add_scalar("train/loss", run.loss(step) + 0.02, step)
                    writer.add_scalar("lr", run.lr(step), step)


def tensorboard() -> None:
    """Tensors in place of simple values, as TensorFlow 2 writes them."""
    from tensorboard.summary import Writer

    for run in FEW:
        writer = Writer(str(HERE / "tensorboard" / run.name))
        for step in run.steps:
            writer.add_scalar("eval/loss", run.loss(step), step)
        writer.close()


def wandb() -> None:
    """Files of W&B itself. The first run was resumed, the second failed; a setting of it fills two blocks."""
    import wandb

    for number, run in enumerate(FEW):
        parts = [run.steps[:6], run.steps[4:]] if number == 0 else [run.steps]
        for part, steps in enumerate(parts, 1):
            with tempfile.TemporaryDirectory() as folder:
                made = wandb.init(
                    project="scaling",
                    name=run.name,
                    id=f"id{number}",
                    dir=folder,
                    mode="offline",
                    config={"model": {"n_params": int(run.n)}, "notes": "x" * 40_000 * (number == 1)},
                    settings=wandb.Settings(console="off", disable_git=True, host="", x_disable_meta=True),
                )
                for step in steps:
                    made.log({"iter": step, "val": {"loss": run.loss(step)}, "lr": run.lr(step)})
                made.finish(exit_code=int(number == 1))
                time.sleep(3)  # Another process writes the file.
                (file,) = Path(folder).rglob("*.wandb")
                target = HERE / "wandb" / f"offline-run-2026010{part}_000000-id{number}"
                target.mkdir(parents=True)
                shutil.copy(file, target)


def _mlflow(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.create_experiment("scaling", artifact_location="file:///unused")
    for run in FEW:
        made = client.create_run(experiment, run_name=run.name)
        for key, value in {"model/n_params": int(run.n), "batch_size": 512, "seq_len": 1024}.items():
            client.log_param(made.info.run_id, key, value)
        for step in run.steps:
            client.log_metric(made.info.run_id, "val/loss", run.loss(step), step=step)
        if run is FEW[-1]:
            client.log_metric(made.info.run_id, "val/loss", float("nan"), step=run.last + 100)
        client.set_terminated(made.info.run_id, "FAILED" if run is FEW[1] else "FINISHED")


def mlflow_files() -> None:
    """A store of plain files; the second run failed, the last one diverged after its end."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    _mlflow((HERE / "mlruns").resolve().as_uri())
    for meta in (HERE / "mlruns").rglob("meta.yaml"):
        meta.write_text(meta.read_text().replace(HERE.resolve().as_uri(), "file:///home/me"))
    for unused in (".trash", "0"):
        shutil.rmtree(HERE / "mlruns" / unused, ignore_errors=True)


def mlflow_database() -> None:
    """The same in a database, packed, and as the table of `mlflow.search_runs`."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "mlflow.db"
        _mlflow(f"sqlite:///{base}")
        mlflow.set_tracking_uri(f"sqlite:///{base}")
        with contextlib.closing(sqlite3.connect(base, isolation_level=None)) as opened:
            opened.execute("update experiments set artifact_location = 'file:///unused'")
            opened.execute("vacuum")
        mlflow.search_runs(experiment_names=["scaling"]).to_csv(HERE / "mlflow_runs.csv", index=False)
        (HERE / "mlflow.db.gz").write_bytes(gzip.compress(base.read_bytes(), mtime=0))


def sinks() -> None:
    """A run of a sweep, copied to TensorBoard and MLflow by the sinks of the harness."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from harness.records.paths import SweepFolder
    from harness.track.sinks import Sinks
    from tests.fakes.record import sweep_record
    from tests.harness.track.test_sinks import JOB, curve, point

    with tempfile.TemporaryDirectory() as root:
        folder = SweepFolder(Path(root))
        curve(folder, "trunk", [8, 16])
        curve(folder, f"branch-{JOB.n_tokens[0]}", [24, 32])
        point(folder)
        fed = Sinks(["tensorboard", "mlflow"], folder, sweep_record(), print)
        fed.finish(JOB)
        for name in ("tensorboard", "mlflow"):
            shutil.copytree(Path(root) / name, HERE / "sinks" / name)
    for meta in (HERE / "sinks").rglob("meta.yaml"):
        meta.write_text(meta.read_text().replace(Path(root).resolve().as_uri(), "file:///home/me"))
    for unused in (".trash", "0"):
        shutil.rmtree(HERE / "sinks" / "mlflow" / unused, ignore_errors=True)


if __name__ == "__main__":
    assert TOKENS_PER_STEP == 512 * 1024
    for made in ("tensorboardx", "tensorboard", "mlruns", "sinks", "wandb"):
        shutil.rmtree(HERE / made, ignore_errors=True)
    tensorboardx()
    tensorboard()
    wandb()
    mlflow_files()
    sinks()
    mlflow_database()  # last, because it sets the tracking address
