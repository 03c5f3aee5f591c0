"""Envelope: hull and bins on made-up edges and surfaces."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import ConvexHull

from analysis.approaches.envelope import bin_minima, curve_table, fit_envelope, lower_hull
from analysis.records.warning_codes import WarningCode
from harness.records.errors import InputError
from tests.fakes.surfaces import CHINCHILLA, SMALL_JOINT, foreign_table, sweep_curves, sweep_points


def test_hull_keeps_the_lower_edge_only() -> None:
    x = np.array([0.0, 1.0, 1.0, 2.0, 3.0, 4.0])
    y = np.array([4.0, 2.0, 3.0, 1.5, 0.5, 2.0])
    assert lower_hull(x, y).tolist() == [0, 1, 4]


def test_hull_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=(2, 200))
    order = rng.permutation(200)
    assert order[lower_hull(x[order], y[order])].tolist() == lower_hull(x, y).tolist()


@pytest.mark.parametrize("kind", ["cloud", "curve", "steps"])
def test_thinning_long_curves_leaves_the_hull_as_it_is(kind: str) -> None:
    """Against SciPy's hull, on more points than are walked along one by one."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 5, 20_000)
    y = {
        "cloud": rng.uniform(size=len(x)),
        "curve": np.exp(-x) + 0.01 * rng.uniform(size=len(x)),
        "steps": np.round(np.exp(-x), 3),
    }[kind]
    points = np.column_stack([x, y])
    vertices = set(ConvexHull(points).vertices)
    found = lower_hull(x, y)
    assert len(found) > 5
    assert set(found) <= vertices
    line = np.interp(x, x[found], y[found], left=-np.inf, right=-np.inf)
    assert np.all(y >= line - 1e-12)


def test_many_losses_at_one_compute() -> None:
    y = np.linspace(3, 2, 10_000)
    assert lower_hull(np.full(len(y), 5.0), y).tolist() == [len(y) - 1]


def test_bins_keep_the_lowest_of_each_bin() -> None:
    x = np.log(10) * np.array([0.01, 0.02, 0.11, 0.12])
    assert bin_minima(x, np.array([2.0, 1.0, 3.0, 4.0]), per_decade=10).tolist() == [1, 2]


def dense_curves(sizes: int) -> pd.DataFrame:
    n = np.geomspace(1e8, 1e10, sizes)
    d = np.geomspace(1e9, 1e12, 400)
    n, d = (axis.ravel() for axis in np.meshgrid(n, d))
    return pd.DataFrame({"n": n, "d": d, "c": 6 * n * d, "loss": CHINCHILLA.loss(n, d), "trunk": n})


def test_dense_curves_give_the_exponent_of_the_surface() -> None:
    frame = dense_curves(60)
    inside = frame[(frame.c > 6e18) & (frame.c < 4e21)]
    for fit in fit_envelope(foreign_table(inside)):
        assert fit.frontier.a == pytest.approx(CHINCHILLA.a, abs=0.01)
        assert fit.frontier.a_interval is None


def test_disagreement_of_hull_and_bins_is_a_warning() -> None:
    points = sweep_points(SMALL_JOINT)
    apart = fit_envelope(curve_table(sweep_curves(SMALL_JOINT, points), points, "n_params_matmul"))
    close = fit_envelope(foreign_table(dense_curves(60)))
    assert abs(apart[0].params["a"] - apart[1].params["a"]) > 0.05
    assert [warning.code for fit in apart for warning in fit.warnings] == 2 * [WarningCode.METHODS_DISAGREE]
    assert [fit.warnings for fit in close] == [(), ()]


def test_trunks_are_read_and_references_left_out() -> None:
    points = sweep_points(SMALL_JOINT)
    table = curve_table(sweep_curves(SMALL_JOINT, points), points, "n_params_body")
    assert set(table.n) == set(points.n_params_body)
    assert len(np.unique(table.cluster)) == points[points.role != "reference"].run_id.nunique() - 4
    hull, _ = fit_envelope(table, source="training curves")
    assert 0.3 < hull.params["a"] < 0.9


def test_training_losses_are_averaged_where_evaluations_are_missing() -> None:
    points = sweep_points(SMALL_JOINT)
    curves = sweep_curves(SMALL_JOINT, points, steps=2000)
    shocks = np.random.default_rng(0).standard_normal(len(curves))
    noisy = curves.assign(eval_loss=np.nan, train_loss=curves.train_loss * np.exp(0.05 * shocks))
    clean = curve_table(curves, points, "n_params_matmul")
    table = curve_table(noisy, points, "n_params_matmul")
    assert len(table) < len(clean) / 10
    at = np.array(
        [
            np.interp(c, clean.c[clean.n == n], clean.loss[clean.n == n])
            for n, c in zip(table.n, table.c, strict=True)
        ]
    )
    assert np.std(np.log(table.loss / at)) < 0.02


def test_curves_of_other_runs_are_an_input_error() -> None:
    points = sweep_points(SMALL_JOINT)
    curves = sweep_curves(SMALL_JOINT, points).assign(run_id="other")
    with pytest.raises(InputError, match="run_id"):
        curve_table(curves, points, "n_params")


def test_too_few_sizes_on_the_edge_is_an_input_error() -> None:
    with pytest.raises(InputError, match="got 2: train more sizes"):
        fit_envelope(foreign_table(dense_curves(2)))
