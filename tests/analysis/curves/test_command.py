"""`python -m analysis.curves`: tables of other people, mistakes in one sentence, the same answer in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis as sl
from analysis.curves.__main__ import main
from analysis.curves.schedule import Plan, parse_plan
from harness.records.errors import InputError
from tests import ROOT
from tests.analysis.curves.curves import simulated

WSD = Plan("wsd", 500)


def table() -> pd.DataFrame:
    """Two finished runs and one that is half through, all of other sizes."""
    return pd.concat(
        [
            simulated("small", 10_000, WSD, size=5e7),
            simulated("middle", 10_000, WSD, size=1e8, seed=1),
            simulated("large", 10_000, WSD, size=2e8, seed=2, until=5_000),
        ]
    )


def test_a_foreign_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "curves.csv", tmp_path / "out.json"
    table().rename(columns={"step": "iteration", "loss": "val", "N": "weights"}).to_csv(path, index=False)
    assert main([str(path), "--map", "loss=val,N=weights", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("ends reached: 2, ahead: 1")
    (end,) = [each for each in json.loads(out.read_text())["ends"] if each["run"] == "large"]
    truth = simulated("large", 10_000, WSD, size=2e8, seed=2).loss.iloc[-3:].mean()
    assert end["loss"] == pytest.approx(truth, rel=0.015)
    assert end["interval"][0] < truth < end["interval"][1]
    assert f"{end['loss']:.3f}" in text
    assert end["basis"] == "runs"


def test_the_plan_can_be_described() -> None:
    """Rates in the table that end with the losses, or none at all: the forecast is the same."""
    logged = table().dropna(subset="loss")
    described = [
        sl.forecast_curve(frame, at=10_000, schedule="wsd,warmup=500")
        for frame in (logged, logged.drop(columns="lr"))
    ]
    losses = [next(each.loss for each in record.ends if each.run == "large") for record in described]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_a_finished_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "results" / "chinchilla")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("ends reached: 74, ahead: 0\nfrom the first 25 % of training: ")
    assert text.count("\n") == 4


def broken(**columns: object) -> Callable[[], pd.DataFrame]:
    return lambda: simulated("run", 4_000, WSD).assign(**columns)


@pytest.mark.parametrize(
    ("frame", "options", "sentence"),
    [
        (lambda: table().drop(columns="lr"), [], "the schedule of run small is unknown: map a column to lr"),
        (
            lambda: table().dropna(subset="loss"),
            ["--at", "10000"],
            "learning rates of run large end at step 5000 of 10000: describe what follows",
        ),
        (broken(step=np.full(40, 3.0)), [], "steps of run run do not rise: 3 follows 3"),
        (broken(lr=-1.0), [], "run run has a negative learning rate"),
        (broken(lr=0.0), [], "run run has no learning rate above 0"),
        (broken(loss=-1.0), [], "run run has a loss of -1: expected nats per token, above 0"),
        (broken(loss=np.nan), [], "run run has no losses"),
        (broken(), ["--at", "run=3000"], "run run is planned to end at step 3000, before its last row at"),
        (broken(), ["--at", "walk=3000"], "there is no run 'walk'"),
        (broken(), ["--at", "soon"], "the last step is 'soon': expected 72000"),
        (broken(), ["--schedule", "cosin"], "there is no schedule called 'cosin'; did you mean cosine?"),
        (broken(), ["--schedule", "wsd,decay=3"], "the schedule has decay=3: expected a share from 0 to 1"),
        (broken(), ["--map", "loss=perplexity"], "the table has no column 'perplexity' for loss: it has "),
        (broken(), ["--map", "length=step"], "the mapping has 'length': expected run, step, loss, lr, N"),
        (lambda: table().drop(columns="loss"), [], "the table has no column for loss: it has "),
        (
            lambda: simulated("run", 100_000, WSD, until=1_500),
            [],
            "run run is too short: 6 rows up to step 1500, 4 rows and step 5000 are needed",
        ),
        (broken(), ["--level", "90"], "argument --level: '90' was given, expected a share between 0 and 1"),
    ],
)
def test_mistakes_are_one_sentence(
    frame: Callable[[], pd.DataFrame],
    options: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame().to_csv(tmp_path / "curves.csv", index=False)
    assert main([str(tmp_path / "curves.csv"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}"), error
    assert error.count("\n") == 1


def test_a_sweep_takes_no_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "results" / "chinchilla"), "--at", "100"]) == 2
    assert (
        "a sweep knows its columns, ends and schedules: leave the option out (--at)"
        in capsys.readouterr().err
    )


def test_plans_have_the_rates_that_they_describe() -> None:
    steps = np.array([0.0, 50, 100, 500, 900, 950, 1_000])
    assert parse_plan("constant,warmup=100").rates(steps, 1_000).tolist() == [0, 0.5, 1, 1, 1, 1, 1]
    wsd = parse_plan("wsd,warmup=100,decay=0.1,final=0.2").rates(steps, 1_000)
    assert wsd == pytest.approx([0, 0.5, 1, 1, 1, 0.6, 0.2])
    assert parse_plan("cosine,warmup=0").rates(steps, 1_000)[[0, 3, 6]] == pytest.approx([1, 0.5, 0])
    assert parse_plan("linear").rates(steps, 1_000)[[0, 3, 6]] == pytest.approx([1, 0.5, 0])
    with pytest.raises(InputError, match="there is no schedule called 'step'"):
        parse_plan("step")
