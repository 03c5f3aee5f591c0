"""Accuracy in two steps: the planted curve is found, intervals hold new runs, mistakes are said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.fit import main
from analysis.prediction.accuracy import accuracy_of, fit_accuracy, with_accuracy
from analysis.prediction.predictor import Predictor
from harness.records.errors import InputError
from tests.analysis.prediction.test_predictor import CERTAIN, NOISE, SIZES, TOKENS, best_at, runs

PLANTED = np.array([0.25, 0.9, 6.0, 2.5])
SPREAD = 0.01


def test_planted_curve_is_found() -> None:
    loss = np.linspace(2.1, 3.2, 36)
    for chance in (None, 0.25):
        found = fit_accuracy(loss, accuracy_of(PLANTED, loss), chance=chance)
        np.testing.assert_allclose(found.theta, PLANTED, rtol=2e-3)
        assert found.sd < 1e-4


@pytest.mark.parametrize("chance", [None, 0.25])
def test_noise_of_a_run_is_estimated(chance: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.prediction.accuracy.DRAWS", 2)
    loss = np.linspace(2.1, 3.2, 400)
    noise = SPREAD * np.random.default_rng(0).standard_normal(len(loss))
    found = fit_accuracy(loss, accuracy_of(PLANTED, loss) + noise, chance=chance)
    assert found.sd == pytest.approx(SPREAD, rel=0.1)


def test_draws_of_the_curve_spread_as_the_linear_theory_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies of the curve have the errors of least squares, times the spread of Student's t."""
    monkeypatch.setattr("analysis.prediction.accuracy.DRAWS", 400)
    rng, loss = np.random.default_rng(0), np.linspace(2.1, 3.2, 36)
    found = fit_accuracy(loss, accuracy_of(PLANTED, loss) + SPREAD * rng.standard_normal(len(loss)))
    at, step = np.linspace(2.0, 3.3, 5), 1e-6 * np.eye(4)
    slope, wanted = (
        np.stack([accuracy_of(found.theta + one, x) - accuracy_of(found.theta - one, x) for one in step], -1)
        / 2e-6
        for x in (loss, at)
    )
    errors = found.sd * np.sqrt(np.einsum("ij,jk,ik->i", wanted, np.linalg.inv(slope.T @ slope), wanted))
    spread = accuracy_of(found.samples[:, None], at).std(axis=0)
    freedom = len(loss) - len(PLANTED)
    np.testing.assert_allclose(spread, errors * np.sqrt(freedom / (freedom - 2)), rtol=0.15)


def test_interval_of_a_new_run_has_the_noise_of_runs() -> None:
    """With losses and a curve that are certain, nothing but the noise of one run is left."""
    predictor = Predictor.over_laws(runs(1e-6), laws=["chinchilla"], resamples=2000)
    found = predictor.best(flops=1e21)
    loss = np.linspace(2.1, 3.2, 36)
    certain = replace(fit_accuracy(loss, accuracy_of(PLANTED, loss)), sd=SPREAD)
    shown = with_accuracy(found, certain, predictor).accuracy
    assert shown is not None
    assert shown.interval is not None
    half = stats.norm.ppf((1 + predictor.level) / 2) * SPREAD
    assert shown.value == pytest.approx(float(accuracy_of(PLANTED, np.array(best_at(1e21)[2]))), abs=1e-4)
    np.testing.assert_allclose(np.subtract(shown.interval, shown.value), [-half, half], rtol=0.1)


def inside(seed: int, resamples: int) -> bool:
    """Whether the interval of the accuracy of a run at ten times the compute holds that of a new run."""
    rng = np.random.default_rng(seed)
    table = runs(NOISE, seed)
    accuracy = accuracy_of(PLANTED, table.loss) + SPREAD * rng.standard_normal(len(table))
    predictor = Predictor.over_laws(table, laws=["chinchilla"], resamples=resamples, seed=seed)
    found = predictor.best(flops=10 * float(table.c.max()))
    shown = with_accuracy(found, fit_accuracy(table.loss, accuracy, seed=seed), predictor, seed).accuracy
    assert shown is not None
    assert shown.interval is not None
    _, _, loss = best_at(found.flops.value)
    truth = accuracy_of(PLANTED, np.array(loss)) + SPREAD * rng.standard_normal()
    return bool(shown.interval[0] <= truth <= shown.interval[1])


def test_interval_holds_a_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps, draws = 12, 60
    monkeypatch.setattr("analysis.prediction.accuracy.DRAWS", draws)
    assert sum(inside(seed, draws) for seed in range(sweeps)) >= stats.binom.ppf(CERTAIN, sweeps, 0.86)


@pytest.mark.slow
def test_coverage() -> None:
    sweeps = 200
    share = np.mean([inside(seed, 200) for seed in range(sweeps)])
    print(f"accuracy of a new run at ten times the compute: {share:.3f} inside")
    assert (
        stats.binom.ppf(CERTAIN, sweeps, 0.86) <= share * sweeps <= stats.binom.ppf(1 - CERTAIN, sweeps, 0.96)
    )


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (np.full(30, 0.3), "expected a rise of 0.05 or more"),
        (np.linspace(20, 60, 30), "accuracy is 60 in one run, expected shares between 0 and 1"),
        (np.linspace(0.2, 0.6, 30)[:4], "accuracy needs 6 runs, got 4"),
    ],
)
def test_what_is_no_curve_is_refused(accuracy: np.ndarray, words: str) -> None:
    with pytest.raises(InputError) as error:
        fit_accuracy(np.linspace(3, 2, len(accuracy)), accuracy)
    assert words in str(error.value)


@pytest.fixture(scope="module")
def six_by_six(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six sizes on six token counts, with accuracies in per cent as text and one missing."""
    table, path = runs(0.003), tmp_path_factory.mktemp("table") / "evals.csv"
    assert len(SIZES) >= 6 > len(TOKENS) - 1
    shares = accuracy_of(PLANTED, table.loss)
    texts = [f"{100 * share:.1f} %" for share in shares]
    texts[3] = ""
    pd.DataFrame({"N": table.n, "D": table.d, "loss": table.loss, "arc": texts}).to_csv(path, index=False)
    return str(path)


def test_command_predicts_accuracy(
    six_by_six: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fit.json"
    asked = ["--predict", "C=3e21", "--accuracy", "arc", "--resamples", "40", "--json", str(out)]
    assert main([six_by_six, *asked]) == 0
    text = capsys.readouterr().out
    assert "arc follows the loss from" in text
    assert f"{len(SIZES) * len(TOKENS) - 1} runs differ" in text
    content = json.loads(out.read_text())
    truth = float(accuracy_of(PLANTED, np.array(best_at(3e21)[2])))
    found = content["predictions"][0]["accuracy"]
    assert found["interval"][0] < truth < found["interval"][1]
    assert content["accuracy"]["middle"] == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--accuracy", "acr", "--predict", "C=1e21"], "has no column 'acr'"),
        (["--accuracy", "arc"], "none was asked: add --predict"),
        (["--chance", "1.5", "--accuracy", "arc", "--predict", "C=1e21"], "--chance is 1.5"),
        (["--accuracy", "loss", "--predict", "C=1e21"], "expected shares between 0 and 1"),
    ],
)
def test_mistakes_are_said(
    six_by_six: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([six_by_six, "--resamples", "0", *options]) == 2
    assert words in capsys.readouterr().err
