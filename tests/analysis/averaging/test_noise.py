"""How the noise falls with N, measured by repeated sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.averaging.average import average_laws
from analysis.averaging.noise import EXPONENT_SD, FARTHEST, USUAL_EXPONENT, NoiseBySize, noise_by_size
from analysis.tables.table import LossTable, load_table
from tests.analysis.averaging.designs import columns, grid, noise
from tests.fakes.tables import additive


def sweep(seeds: int, exponent: float, seed: int = 0, separate: bool = False) -> LossTable:
    """The default grid with noise that falls as N^-exponent; each run alone if `separate`."""
    n, d, _, trunk = columns(grid(seeds))
    loss = additive(n, d) * np.exp(noise(trunk, n, np.random.default_rng(seed), exponent))
    frame = pd.DataFrame({"N": n, "D": d, "loss": loss, "trunk": trunk})
    return load_table(frame, mapping={} if separate else {"cluster": "trunk"})


@pytest.mark.parametrize("exponent", [0.0, 0.4])
def test_many_seeds_measure_the_exponent(exponent: float) -> None:
    found = [noise_by_size(sweep(200, exponent, seed)).exponent for seed in range(3)]
    # The usual exponent keeps a tenth of the weight: 200 seeds know it to .03, EXPONENT_SD is .1.
    assert np.mean(found) == pytest.approx(exponent + 0.1 * (USUAL_EXPONENT - exponent), abs=0.04)


def test_few_seeds_hardly_move_the_usual_exponent() -> None:
    found = [noise_by_size(sweep(2, 0.0, seed)).exponent for seed in range(20)]
    assert np.mean(found) == pytest.approx(USUAL_EXPONENT, abs=0.03)
    assert np.ptp(found) < 2 * EXPONENT_SD
    assert noise_by_size(sweep(1, 0.0)).exponent == USUAL_EXPONENT


def test_separate_runs_have_equal_noise() -> None:
    found = noise_by_size(sweep(5, 0.4, separate=True))
    assert found.exponent == 0
    assert np.array_equal(found.relative(np.array([1e3, 1e9])), [1, 1])


def test_relative_noise_is_that_of_an_average_row_and_stays_beyond_the_measured_sizes() -> None:
    table = sweep(1, 0.0)
    found = NoiseBySize.of(table, 0.3)
    assert np.mean(found.relative(table.n) ** -2) == pytest.approx(1)
    ends = found.relative(np.array([2.0, 1.0, 10.0, 100.0]) * FARTHEST * table.n.max())
    assert np.ptp(ends) == 0
    ratio = found.relative(np.array([1e4, 4e4]))
    assert ratio[0] / ratio[1] == pytest.approx(4**0.3)


def test_a_new_run_of_a_large_model_is_forecast_as_sharply_as_large_models_repeat() -> None:
    widths = {}
    for exponent in (0.0, 0.5):
        average = average_laws(sweep(40, exponent), ["chinchilla"], resamples=100)
        n, d = np.array([1.7e4, 1.8e5]), np.full(2, 9e5)
        _, low, high = average.new_runs(n, d, 6 * n * d)
        widths[exponent] = np.log(high / low)
    assert widths[0.5][1] < 0.6 * widths[0.5][0]
    assert widths[0.0][1] > 0.75 * widths[0.0][0]
