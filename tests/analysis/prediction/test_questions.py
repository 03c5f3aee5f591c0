"""Questions as typed, through `analysis.fit --predict`: what is read, said, written and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.fit import main
from analysis.prediction.questions import parse_questions
from harness.records.errors import InputError
from tests.analysis.prediction.test_predictor import best_at, runs

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture
def table(tmp_path: Path) -> str:
    found, path = runs(0.003), tmp_path / "losses.csv"
    pd.DataFrame({"N": found.n, "D": found.d, "loss": found.loss}).to_csv(path, index=False)
    return str(path)


def test_numbers_without_a_name_follow_the_one_before() -> None:
    assert parse_questions(["C=1e24,3e24", "n=70M", "N=1B,2B,D=1e12"]) == [
        {"C": 1e24}, {"C": 3e24}, {"N": 7e7}, {"N": 1e9, "D": 1e12}, {"N": 2e9, "D": 1e12},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1e24", "has 1e24 without a name"),
        ("C=much", "has 'much', expected a positive number"),
        ("C=-1", "expected a positive number"),
        ("E=1.7", "has E=: expected one such as C=1e24"),
        ("N=1e9,N=2e9", "has N= twice"),
        ("C=1e24,N=1e9", "of which each decides the others"),
        ("N=" + ",".join(["1e9"] * 11) + ",D=" + ",".join(["1e9"] * 10), "has 110 pairs"),
    ],
)
def test_what_cannot_be_asked_is_said(text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        parse_questions([text])
    assert words in str(error.value)


def test_command_answers_by_a_named_law_and_over_laws(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fit.json"
    asked = ["--predict", "C=1e21", "--predict", "N=1B,D=20B", "--resamples", "40", "--json", str(out)]
    assert main([table, "--law", "chinchilla", *asked]) == 0
    text = capsys.readouterr().out
    assert "predictions by the chinchilla law, 90 % intervals" in text
    assert "C = 10²¹" in text
    assert "N = 1B, D = 20B (1.2×10²⁰ FLOPs)" in text
    best, run = json.loads(out.read_text())["predictions"]
    assert best["n"]["interval"][0] < best_at(1e21)[0] < best["n"]["interval"][1]
    assert run["asked"] == {"N": 1e9, "D": 2e10}
    assert run["loss"]["interval"][0] < run["loss"]["value"] < run["loss"]["interval"][1]
    assert main([table, *asked]) == 0
    assert "the laws that these rows cannot exclude (" in capsys.readouterr().out


def test_command_answers_beside_all_approaches(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fits.json"
    assert (
        main([table, "--approach", "all", "--predict", "L=2.6", "--resamples", "0", "--json", str(out)]) == 0
    )
    assert "L = 2.6 (" in capsys.readouterr().out
    (answered,) = [entry for entry in json.loads(out.read_text()) if "predictions" in entry]
    assert answered["predictions"][0]["flops"]["interval"] is None


def test_approaches_without_a_law_answer_nothing(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([table, "--approach", "isoflop", "--predict", "C=1e21"]) == 2
    assert "--predict needs a law of the loss" in capsys.readouterr().err


def test_runs_of_one_size_predict_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, path = runs(0.003), tmp_path / "one.csv"
    frame = pd.DataFrame({"N": found.n, "D": found.d, "loss": found.loss})
    frame[frame.N.min() == frame.N].to_csv(path, index=False)
    assert main([str(path), "--predict", "C=1e21", "--resamples", "0"]) == 2
    assert "no run can be predicted" in capsys.readouterr().err
