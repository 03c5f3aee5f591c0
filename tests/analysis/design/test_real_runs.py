"""Five trained sweeps whose cells were designed, against five of the default grid at equal FLOPs.

Each began as the fitted cells of `+grid=chinchilla` with one seed; `analysis.design` chose the rest
(results/LOG.md). The truth is the mean of twenty replications in cells that no design trained.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.averaging.average import average_laws
from analysis.contest.adequacy import candidates
from analysis.tables.table import load_table
from tests import ROOT

SETS = ("designed-700", "designed-710", "designed-720", "designed-730", "designed-740")
COOLDOWN = 0.2
DRAWS = 100


def replications() -> list[pd.DataFrame]:
    folder = ROOT / "results/replications/chinchilla"
    return [pd.read_parquet(path) for path in sorted(folder.glob("r*/points.parquet"))]


def spent(points: pd.DataFrame) -> float:
    """Training FLOPs of trunks with their branches."""
    total = 0.0
    for _, rows in points.groupby("run_id"):
        tokens = COOLDOWN * rows.n_tokens.sum() + (1 - COOLDOWN) * rows.n_tokens.max()
        total += float((rows.flops / rows.n_tokens).iloc[0] * tokens)
    return total


def test_designed_runs_forecast_no_worse_than_five_seeds_of_all_cells() -> None:
    whole = pd.read_parquet(ROOT / "tests/stored/designed.parquet")
    designed = [whole[whole.grid == name] for name in SETS]
    sweeps = replications()
    usual = [sweep[sweep.role == "fit"] for sweep in sweeps[: len(SETS)]]
    assert [spent(points) for points in designed] == pytest.approx([spent(usual[0])] * len(SETS), rel=0.015)
    held = pd.concat([sweep[sweep.role == "holdout"] for sweep in sweeps])
    cells = held.groupby(["n_params_matmul", "n_tokens", "flops"], as_index=False).loss.mean()
    trained = set(zip(whole.n_params_matmul, whole.n_tokens, strict=True))
    cells = cells[[place not in trained for place in zip(cells.n_params_matmul, cells.n_tokens, strict=True)]]
    assert len(cells) == 13
    far = (cells.flops >= 10 * usual[0].flops.max()).to_numpy()

    def errors(points: pd.DataFrame) -> tuple[float, float, float]:
        table = load_table(points)
        average = average_laws(table, candidates(table), resamples=DRAWS)
        n, d, c = (cells[name].to_numpy(float) for name in ("n_params_matmul", "n_tokens", "flops"))
        off = np.log(average.new_runs(n, d, c)[0] / cells.loss.to_numpy())
        return rms(off), rms(off[far]), abs(float(off[np.argmax(c)]))

    of_designed, of_usual = (np.array([errors(points) for points in sets]) for sets in (designed, usual))
    for name, found in (("designed", of_designed), ("default", of_usual)):
        each, beyond, largest = 100 * np.sqrt(np.mean(found**2, axis=0))
        print(f"{name}: RMS {each:.2f} %, {beyond:.2f} % at ≥ 10×, {largest:.2f} % at the largest run")
    assert np.all(np.sqrt(np.mean(of_designed**2, axis=0)) <= np.sqrt(np.mean(of_usual**2, axis=0)))
    assert np.all(np.median(of_designed, axis=0) <= np.median(of_usual, axis=0))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
