"""Expected standard errors against the spread of refits to redrawn noise, and designs that tell nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import analysis as sl
from analysis.arrays import Array
from analysis.design.expected import Target, expect, target_error
from analysis.design.influence import WEIGHTS, common_part, inside, second_moment
from analysis.design.information import Cells, Information
from analysis.frontier import six_nd_exponents
from analysis.records.warning_codes import WarningCode
from harness.records.errors import InputError
from tests.analysis.averaging.designs import TRUTHS, columns, trunks
from tests.analysis.design.designs import as_table, default_grid, refits, truth

PLACE = columns([(96, 6656, 0)])[:3]  # 30 times the largest fitted compute


def spread(values: Array) -> float:
    return float(values.std(ddof=1))


@pytest.mark.parametrize("width", [1e-3, 5e-3, np.inf])
def test_the_moments_of_huber_under_shared_noise(width: float) -> None:
    """By drawing: two runs of a trunk with noise of different size."""
    rng = np.random.default_rng(0)
    sd, share = np.array([0.004, 0.002]), 0.8
    common, own = rng.standard_normal((400_000, 1)), rng.standard_normal((400_000, 2))
    drawn = sd * (np.sqrt(share) * common + np.sqrt(1 - share) * own)
    clipped = np.clip(drawn, -width, width)
    assert np.mean(np.abs(drawn) < width, axis=0) == pytest.approx(inside(sd, width), rel=0.01)
    assert np.mean(clipped**2, axis=0) == pytest.approx(second_moment(sd, width), rel=0.01)
    part = common_part(sd, share, width)
    assert np.mean(clipped.prod(axis=1)) == pytest.approx(WEIGHTS @ part.prod(axis=1), rel=0.015)


@pytest.mark.parametrize("estimator", ["huber", "gls"])
@pytest.mark.parametrize("name", [name for name in TRUTHS if name != "joint"])
def test_the_stated_error_is_the_simulated_one(name: str, estimator: str) -> None:
    """α, β, a, E and the loss at 30 times the fitted compute, within 15 % of 300 refits."""
    information = Information(truth(name), default_grid(5), estimator)
    law, theta = information.truth.law, refits(information)
    target = tuple(float(part[0]) for part in PLACE)
    found = expect(information, place=(target[0], target[1], target[2]))
    simulated = {key: theta[:, law.params.index(key)] for key in ("E", "alpha", "beta")}
    simulated["a"] = six_nd_exponents(law, theta, as_table(information.cells, information.truth))
    simulated["loss"] = np.log(law.value(theta, *PLACE))[:, 0]
    stated = dict(found.errors) | {"loss": found.target_error}
    ratios = {key: (stated[key] or np.nan) / spread(values) for key, values in simulated.items()}
    print(name, estimator, {key: round(value, 3) for key, value in ratios.items()})
    assert all(abs(ratio - 1) < 0.15 for ratio in ratios.values()), ratios
    assert found.warnings == (), found.warnings


def test_a_rectangle_of_trunks_too() -> None:
    information = Information(truth("saturating"), Cells(*columns(trunks(2))))
    theta = refits(information)
    far = columns([(96, 8192, 0)])[:3]
    covariance = information.covariance
    assert covariance is not None
    stated = target_error(information, covariance, Target(*(float(p[0]) for p in (far[2], *far[:2])), 2.0))
    assert stated == pytest.approx(spread(np.log(information.truth.law.value(theta, *far))[:, 0]), rel=0.15)


def test_what_a_straight_line_misses_is_not_stated() -> None:
    """γ and E trade off so far that E reaches 0: half of the refits lie at ends that no slope sees."""
    information = Information(truth("joint"), default_grid(5))
    found = expect(information, target=1e13)
    assert [warning.code for warning in found.warnings] == [WarningCode.BEYOND_LINEAR]
    assert (found.errors["E"], found.target_error) == (None, None)
    table = as_table(information.cells, information.truth)
    exponents = six_nd_exponents(information.truth.law, refits(information), table)
    assert found.errors["a"] == pytest.approx(spread(exponents), rel=0.15)


def test_more_seeds_shrink_errors_by_the_root() -> None:
    one, four = (expect(Information(truth("additive"), default_grid(seeds))).errors for seeds in (1, 4))
    for key, error in one.items():
        assert error is not None
        assert four[key] == pytest.approx(error / 2)


def runs(n: Array, d: Array) -> pd.DataFrame:
    loss = 1.7 + 400 * n**-0.34 + 410 * d**-0.28
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(len(n)))
    return pd.DataFrame({"N": n, "D": d, "loss": loss * noise})


SIZES = np.geomspace(1e7, 1e9, 8)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (runs(SIZES, 20 * SIZES), r"D/N is 20 in all 8 runs.*add runs with other token counts"),
        (runs(SIZES, 1e5 * SIZES**0.6), r"D is proportional to N\^0\.60 in all 8 runs"),
        (runs(np.full(8, 1e8), 20 * SIZES), r"all 8 runs have N = 1e\+08.*add a second and a third size"),
        (runs(SIZES, np.full(8, 1e9)), r"all 8 runs have D = 1e\+09"),
    ],
)
def test_runs_that_tell_no_law(table: pd.DataFrame, said: str) -> None:
    with pytest.raises(InputError, match=said):
        sl.expected_errors(table, "chinchilla")


def test_a_target_below_the_runs_or_far_beyond_and_a_short_range() -> None:
    n, d = (x.ravel() for x in np.meshgrid([1e8, 1.5e8, 2e8], np.geomspace(1e9, 1e11, 4)))
    table = runs(n, d)
    for target in (1e10, 1e30):
        with pytest.raises(InputError, match="expected one from"):
            sl.expected_errors(table, "chinchilla", target=target)
    (doubt,) = [w for w in sl.expected_errors(table, "chinchilla[E=1.7]").warnings if w.code == "short_range"]
    assert "N by a factor of 2 alone" in doubt.message
