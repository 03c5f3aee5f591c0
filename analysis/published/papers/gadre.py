"""Refit of the over-training law, its extrapolations, and the law of task errors.

The loss law is fitted to five small runs of a corpus: four sizes at M = D/N = 20, and the smallest at
M = 320. The error law also takes the 1.4B model at M = 20.

References: Gadre et al. 2024, arXiv:2403.08540, equations 4 and 5 and section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import curve_fit

from analysis.approaches.parametric import fit_law
from analysis.arrays import Array
from analysis.published.papers.comparison import Comparison
from analysis.published.papers.printed import GADRE
from analysis.result import Fit
from analysis.tables.table import load_table

SMALL = ("d=96_l=8_h=4", "d=512_l=8_h=4", "d=576_l=24_h=8", "d=1024_l=24_h=8")
SMALLEST, LARGE = SMALL[0], "open_lm_1b"
CHINCHILLA, OVERTRAINED = 1, 16  # D/(20·N)
LOSS = "loss_c4_val"
TASKS = (
    "arc_easy", "bigbench_cs_algorithms", "bigbench_dyck_languages", "bigbench_novel_concepts",
    "bigbench_operators", "bigbench_qa_wikidata", "boolq", "commonsense_qa", "copa", "coqa", "hellaswag",
    "hellaswag_zeroshot", "lambada_openai", "piqa", "pubmed_qa_labeled", "squad", "winograd",
)  # fmt: skip
FORECASTS = ((LARGE, 32), ("open_lm_7b", CHINCHILLA))  # (model, D/(20·N)) on RedPajama
WITHIN = {"E": 0.01, "A": 1.0, "B": 1.0, "eta": 0.001, "epsilon": 0.001, "k": 0.01, "gamma": 0.001}
WITHIN_FORECAST = 0.02  # percentage points of relative error


def refit(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """Compare the constants of both laws on three corpora, and the errors of two published predictions."""
    runs = pd.read_csv(paths["runs.csv"])
    comparisons = []
    for corpus, own in runs.groupby("dataset"):
        few = fitted_runs(own)
        fit = fit_overtraining(few, seed)
        epsilon, k, gamma = fit_error(pd.concat([few, chosen(own, LARGE, CHINCHILLA)]))
        constants = {**fit.estimates, "epsilon": epsilon, "k": k, "gamma": gamma}
        comparisons += [
            Comparison(f"{corpus} {name}", GADRE[f"{corpus} {name}"], value, WITHIN[name])
            for name, value in constants.items()
        ]
        if corpus == "rpj":
            comparisons += [_forecast(fit, own, model, ratio) for model, ratio in FORECASTS]
    return comparisons


def chosen(runs: pd.DataFrame, model: str, ratio: int) -> pd.DataFrame:
    """Return the run of a model at D = 20·`ratio`·N."""
    return runs[(runs.model == model) & (runs.chinchilla_multiplier == ratio)]


def fitted_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the five runs that the loss law is fitted to."""
    return pd.concat(
        [*(chosen(runs, model, CHINCHILLA) for model in SMALL), chosen(runs, SMALLEST, OVERTRAINED)]
    )


def fit_overtraining(runs: pd.DataFrame, seed: int) -> Fit:
    """Fit the over-training law (equation 4) by least squares on the loss; N counts all parameters."""
    table = load_table(runs, mapping={"N": "N", "D": "D", "loss": LOSS})
    return fit_law(table, "overtraining", estimator="lsq_loss", resamples=0, seed=seed)


def fit_error(runs: pd.DataFrame) -> tuple[float, float, float]:
    """Return epsilon, k and gamma of error = epsilon − k·exp(−gamma·L) (equation 5), mean over 17 tasks."""

    def law(loss: Array, epsilon: float, k: float, gamma: float) -> Array:
        return np.asarray(epsilon - k * np.exp(-gamma * loss))

    error = 1 - runs[[f"acc_{task}" for task in TASKS]].mean(axis=1).to_numpy(float)
    found = curve_fit(law, runs[LOSS].to_numpy(float), error, p0=(1, 1, 1), maxfev=10_000)[0]
    epsilon, k, gamma = map(float, found)
    return epsilon, k, gamma


def _forecast(fit: Fit, runs: pd.DataFrame, model: str, ratio: int) -> Comparison:
    """Compare the relative error of the predicted loss of one run, in percent."""
    run = chosen(runs, model, ratio)
    predicted = fit.predict(run.N.to_numpy(float), run.D.to_numpy(float))
    error = 100 * abs(float(predicted[0]) / float(run[LOSS].iloc[0]) - 1)
    key = f"rpj {model} at M={20 * ratio}"
    return Comparison(f"{key}, error in %", GADRE[key], error, WITHIN_FORECAST)
