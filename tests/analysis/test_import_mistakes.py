"""`python -m analysis.import_runs` of what is damaged, odd or not said: one sentence, or the other runs."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from analysis import import_runs
from tests.analysis.trackers.importing import PER_STEP, SIZES, STORED, imported

pytestmark = pytest.mark.usefixtures("in_folder")

ONE = "step,loss,tokens\n1,3.5,1e6\n2,3.2,2e6\n"


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        (None, [], "there is no file or folder log.csv: expected a chart or table of W&B as .csv or its own"),
        ("", [], "cannot read log.csv as a .csv"),
        (ONE, [], "the parameters of run 'log' are not known: give a number such as 7e7, one a run as in lo"),
        (ONE, ["--params", "many"], "'many' is neither a positive number such as 7e7 nor a setting of run '"),
        (ONE, ["--params", "other=7e7"], "there is no run 'other': the runs are 'log' (--params)"),
        (ONE, ["--params-from", "(d+"], "the pattern '(d+' is no regular expression: missing )"),
        (ONE, ["--params-from", "log"], "the pattern 'log' finds no number in the name 'log': expected one"),
        (ONE, ["--params", "7e7", "--loss", "val"], "no run has the metric 'val': they have 'loss', 'tokens"),
        (ONE, ["--params", "7e7", "--loss-is", "bits"], "there is no scale 'bits' of the loss"),
        (ONE, ["--params", "7e7", "--end-share", "1"], "--end-share is 1: expected a share from 0 on and be"),
        (ONE, ["--params", "7e7", "--runs", "x*"], "no run is called 'x*': there are 'log' (--runs)"),
        (ONE, ["--params", "7e7", "--out", "log.csv"], "log.csv is there already and no import wrote it"),
        ("step,loss\n1,3\n", ["--params", "7e7"], "the tokens of a step of run 'log' are not known: give a"),
        ("step,loss\n1,-3\n", ["--params", "7e7"], "run 'log' has 'loss' of -3: expected a loss above 0"),
        ("step,loss\n1,nan\n", ["--params", "7e7"], "no run has a logged number: expected losses by step"),
        ("step,val_loss,test_loss\n1,3,3\n", [], "several metrics may be the loss: name one out of 'val_los"),
        ("step,acc\n1,0.3\n", [], "no metric is called a loss: name one out of 'acc' (--loss)"),
        ("a,b\n1,2\n", [], "log.csv has neither steps (step, Step, steps …) nor names of runs"),
        ("Step,a - loss,a - loss\n1,2,3\n", [], "log.csv has two columns called 'a - loss': give each run a"),
        ("Relative Time (Process),a - loss,a - loss__MIN\n1,2,2\n", [], "the axis of log.csv is 'Relative T"),
        ("run,step,loss,params,n_params\na,1,3,7,8\n", [], "run 'a' has several counts of parameters: name"),
        ("step,loss,arm\n1,3,a\n2,2,a\n1,3,b\n", [], "column 'step' of log.csv falls 1 times and no colu"),
        ("Name,loss\na,3\na,4\n", [], "log.csv has several rows of 'a' and no steps: give each a name of it"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_sentence(
    text: str | None, options: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        Path("log.csv").write_text(text)
    assert import_runs.main(["log.csv", *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {error}")
    assert said.count("\n") == 1
    assert not Path("runs.csv").exists()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        (
            "events.out.tfevents.1",
            b"\0" * 40,
            "events.out.tfevents.1 cannot be read (byte 0 begins no record",
        ),
        (
            "mlflow.db",
            b"SQLite format 3\0" + b"x" * 50,
            "mlflow.db cannot be read (it is no database of MLflow: ",
        ),
        (
            "run-1.wandb",
            b"no log of records",
            "run-1.wandb cannot be read (it does not begin as a file of",
        ),
        ("last.pt", b"weights", "last.pt holds no logged losses: expected a chart or table of W&B"),
        ("train.log", b"epoch 1 went well\n", "no line of train.log has a loss in a form that is known"),
        ("train.log", b"step:1/2 val_loss:nan\n", "no run has a number for 'val_loss': name another metric"),
        ("metrics.log", b'x {"tracker": \nmore\n', "line 1 of metrics.log is no JSON: leave it out"),
        ("metrics.log", b'{"tracker":' * 3000 + b"\nmore\n", "line 1 of metrics.log is no JSON: leave it"),
        ("metrics.csv", b"step,loss,run\n1,2,\n2,2,a\n", "row 0 of metrics.csv (1 rows in all) has no name"),
        ("metrics.csv", b"Name,loss,loss\na,2,3\n", "metrics.csv has two columns called 'loss': give each"),
    ],
)
def test_damaged_files_are_one_sentence(
    name: str, content: bytes, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_bytes(content)
    assert import_runs.main([name, "--params", "7e7"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {error}")


@pytest.mark.parametrize(
    ("step", "loss", "kept"),
    [('"a"', "2", 1), ("[1]", "2", 1), ("null", "2", 1), ("2", "9" * 400, 1), ("2", '"NaN"', 1),
     ("2", '"+-nan"', 1),
     ("2", "[3]", 1), ("2", "2.5", 2), ("9" * 400, "2.5", 1)],
)  # fmt: skip
def test_odd_values_in_json_are_no_losses(step: str, loss: str, kept: int) -> None:
    line = '{"tracker": "x", "event": "log", "step": %s, "metrics": {"loss": %s}}\n'
    Path("odd.log").write_text(line % ("1", "3.5") + line % (step, loss))
    assert import_runs.main(["odd.log", "--params", "7e7", "--tokens-per-step", "10"]) == 0
    assert len(pd.read_csv("runs.curves.csv")) == kept


def test_settings_too_large_for_a_float_are_no_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"tracker": "x", "event": "hparams", "hparams": {"n_params": 10**400}}
    step = {"tracker": "x", "event": "log", "step": 1, "metrics": {"loss": 2}}
    Path("odd.log").write_text(f"{json.dumps(record)}\n{json.dumps(step)}\n")
    assert import_runs.main(["odd.log"]) == 2
    assert "the parameters of run 'odd' are not known" in capsys.readouterr().err


def test_a_word_for_one_loss_leaves_the_others_numbers() -> None:
    Path("runs_table.csv").write_text(
        "Name,State,loss,n_params,tokens\na,finished,3.5,10M,1B\nb,failed,oom,20M,1B\n"
    )
    ends, _, record = imported("runs_table.csv")
    assert ends[["run", "N", "D", "loss"]].values.tolist() == [["a", 1e7, 1e9, 3.5]]
    assert [each.run for each in record.left_out] == ["b"]


def test_a_log_that_windows_wrote_and_a_name_that_is_no_text() -> None:
    name = os.fsdecode(b"t\xff.log")
    Path(name).write_text("step 10: train loss 2.1, val loss 2.0\n", encoding="utf-16")
    ends, _, _ = imported(name, "--params", "7e7", "--tokens-per-step", "1000")
    assert ends[["run", "D", "loss"]].values.tolist() == [["t?", 1e4, 2.0]]


def test_links_in_a_circle_are_no_source(capsys: pytest.CaptureFixture[str]) -> None:
    Path("circle").symlink_to("circle")
    assert import_runs.main(["circle"]) == 2
    assert "there is no file or folder circle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("update metrics set step = 'x'", "has the value"),
        ("update metrics set value = x'00ff'", "has the value"),
        ("drop table params", "no such table"),
    ],
)
def test_a_database_with_odd_values(statement: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = Path("mlflow.db")
    base.write_bytes(gzip.decompress((STORED / "mlflow.db.gz").read_bytes()))
    with closing(sqlite3.connect(base)) as connection:
        connection.execute(statement)
        connection.commit()
    assert import_runs.main(["mlflow.db", *SIZES, *PER_STEP]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["params/seq_len", "metrics/val/loss", "meta.yaml", "tags/mlflow.runName"])
def test_bytes_that_are_no_text_in_a_store_of_mlflow(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(STORED / "mlruns", "mlruns")
    path = next(folder for folder in Path("mlruns").glob("*/*") if folder.is_dir()) / name
    path.write_bytes(b"\xff" + path.read_bytes())
    assert import_runs.main(["mlruns", *SIZES, *PER_STEP]) == 2
    assert f"{path} cannot be read" in capsys.readouterr().err


def test_a_folder_without_runs_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert import_runs.main(["empty"]) == 2
    assert "folder empty holds no runs of TensorBoard, MLflow or W&B" in capsys.readouterr().err


def test_two_runs_of_one_name_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "run.csv").write_text(ONE)
    assert import_runs.main(["a/run.csv", "b/run.csv", "--params", "7e7"]) == 2
    assert "two runs are called 'run' and both have 'loss'" in capsys.readouterr().err
