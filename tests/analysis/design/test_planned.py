"""What the plan of a sweep says of the errors to expect."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.design.planned import USUAL, USUAL_NAME, expected_lines
from analysis.records.fits import read_study
from harness.records.paths import SweepFolder
from tests import ROOT
from tests.small_sweeps import grid_cells

SIX = "grid.rungs=[16,32,48,64,96,128]"
EMPTY = SweepFolder(Path("nowhere"))


def test_the_usual_law_is_that_of_the_committed_example() -> None:
    study = read_study(ROOT / "results/chinchilla/fits.json")
    fit = next(each for each in study.fits if each.law == USUAL.law.name and each.estimator == "huber")
    assert fit.params is not None
    assert [fit.params[name] for name in USUAL.law.params] == pytest.approx(USUAL.theta.tolist(), rel=1e-3)
    assert study.primary is not None
    assert study.primary.law == USUAL.law.name


def test_the_default_grid_says_what_its_forecast_will_be_worth() -> None:
    """Beside it 20 replications: the sealed forecasts of this cell spread by about as much."""
    (line,) = expected_lines(EMPTY, grid_cells("chinchilla"))
    assert USUAL_NAME in line
    assert re.search(r"E ± 0\.\d+, α ± 0\.0\d+, β ± 0\.0\d+, a ± 0\.02\d", line), line
    assert "largest held-out cell (d96, 7.34M tokens) ± 1.2 %" in line


def test_earlier_results_give_their_own_law() -> None:
    folder = SweepFolder(ROOT / "results/chinchilla")
    (line,) = expected_lines(folder, grid_cells("chinchilla"))
    assert f"the law of the runs in {folder.root}" in line


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (["grid.n_tokens=null", "grid.tokens_per_param=[20]", SIX], "constant_ratio"),
        (["grid.rungs=[32]", "grid.n_tokens=[65536,131072,262144,524288,1048576,2097152]"], "one_size"),
        (["grid.rungs=[48,64,80]", "grid.n_tokens=[1048576,1310720,1572864]"], "short_range"),
    ],
)
def test_a_grid_that_cannot_answer_carries_a_code(overrides: list[str], code: str) -> None:
    lines = expected_lines(EMPTY, grid_cells("smoke", "grid.holdout_factor=null", *overrides))
    assert any(line.startswith(f"[{code}]") for line in lines), lines


@pytest.mark.parametrize("grid", ["lr", "emergence_seeds"])
def test_grids_that_ask_something_else_say_nothing(grid: str) -> None:
    assert expected_lines(EMPTY, grid_cells(grid)) == []


def test_the_usual_noise_falls_with_size_and_then_stays() -> None:
    assert USUAL.sd(np.array([4e4, 4e5, 4e6, 4e7])) == pytest.approx(
        [0.0038, 0.0038 * 10**-0.2, 0.0038 * 100**-0.2, 0.0038 * 100**-0.2]
    )
