"""Resampling of trunks."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.parametric import fit_law
from analysis.laws import find_law
from analysis.solve.problem import Problem
from analysis.solve.search import multi_start
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty import bootstrap as module
from analysis.uncertainty.bootstrap import (
    CHECKED,
    KINDS,
    bootstrap,
    cluster_resamples,
    resampled_weights,
    residual_resamples,
    smooth_resamples,
)
from analysis.uncertainty.one_step import LEAST_ROWS, NEAR, one_step
from harness.records.errors import InputError
from tests.fakes.tables import additive, joint, ladder

LAW = find_law("chinchilla")


def test_rows_of_a_trunk_are_drawn_together() -> None:
    table = ladder(additive, np.random.default_rng(0))
    weights = cluster_resamples(table, LAW, 50, np.random.default_rng(0))
    for cluster in np.unique(table.cluster):
        member = weights[:, table.cluster == cluster]
        assert np.array_equal(member, np.repeat(member[:, :1], member.shape[1], axis=1))
    assert weights.std() > 0


def test_every_resample_holds_three_sizes() -> None:
    table = ladder(additive, np.random.default_rng(0), seeded=())
    weights = cluster_resamples(table, LAW, 300, np.random.default_rng(0))
    sizes = [len(np.unique(table.n[row > 0])) for row in weights]
    assert min(sizes) == 3


def test_table_weights_multiply() -> None:
    table = ladder(additive, np.random.default_rng(0))
    heavy = replace(table, weights=np.full(len(table), 2.5))
    plain = cluster_resamples(table, LAW, 5, np.random.default_rng(0))
    np.testing.assert_allclose(cluster_resamples(heavy, LAW, 5, np.random.default_rng(0)), 2.5 * plain)


def test_smooth_weights_have_the_moments_of_drawn_rows() -> None:
    table = replace(ladder(additive, np.random.default_rng(0)), weights=None)
    weights = smooth_resamples(table, 4000, np.random.default_rng(0))
    assert weights.min() > 0
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(weights.var(axis=0), 1, atol=0.25)
    doubled = replace(table, weights=np.full(len(table), 2.0))
    np.testing.assert_array_equal(smooth_resamples(doubled, 4000, np.random.default_rng(0)), 2 * weights)


@pytest.mark.parametrize(
    ("estimator", "rows", "separate", "smooth"),
    [
        ("huber", 30, True, True),
        ("lad", 30, True, True),
        ("lsq", 30, True, False),
        ("huber", 29, True, False),  # fewer than six rows a parameter
        ("huber", 30, False, False),
    ],
)
def test_many_separate_runs_are_weighted_smoothly(
    estimator: str, rows: int, separate: bool, smooth: bool
) -> None:
    table = ladder(additive, np.random.default_rng(0), seeded=()).select(np.arange(30) < rows)
    table = replace(table, cluster=np.arange(rows)) if separate else table
    weights = resampled_weights(Problem(LAW, table, estimator), 20, np.random.default_rng(0))
    assert (np.min(weights) > 0) == smooth


def test_too_few_clusters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows of their own clusters, six parameters: hardly a resample holds all rows."""
    table = ladder(joint, np.random.default_rng(0), seeded=()).select(np.arange(30) % 5 == 0)
    monkeypatch.setattr("analysis.uncertainty.bootstrap.MAX_DRAWS", 2)
    with pytest.raises(InputError, match=r"6 clusters are too few to resample.*ask for 0 resamples"):
        cluster_resamples(
            replace(table, d=table.d * np.arange(1, 7)), find_law("joint"), 50, np.random.default_rng(0)
        )


def test_a_trunk_effect_widens_the_interval() -> None:
    """Treating rows of a trunk as independent would hide most of the uncertainty of alpha."""
    rng = np.random.default_rng(8)
    table = ladder(additive, rng, noise=0.01, seeded=(0, 1, 2, 3, 4, 5))
    common = {cluster: 0.01 * rng.standard_normal() for cluster in np.unique(table.cluster)}
    shifted = replace(table, loss=table.loss * np.exp([common[cluster] for cluster in table.cluster]))
    alone = replace(shifted, cluster=np.arange(len(table)))
    by_trunk, by_row = (fit_law(t, resamples=200).bse["alpha"] for t in (shifted, alone))
    assert by_trunk > 1.15 * by_row


def test_same_seed_same_estimates() -> None:
    problem = Problem(LAW, ladder(additive, np.random.default_rng(0)))
    theta = multi_start(problem, np.random.default_rng(0)).theta
    assert np.array_equal(bootstrap(problem, theta, 20, 1), bootstrap(problem, theta, 20, 1))
    assert not np.array_equal(bootstrap(problem, theta, 20, 1), bootstrap(problem, theta, 20, 2))


def test_a_thousand_refits_take_seconds() -> None:
    table = ladder(joint, np.random.default_rng(0)).select(np.arange(42) < 25)
    problem = Problem(find_law("joint"), table)
    theta = multi_start(problem, np.random.default_rng(0)).theta
    began = time.process_time()
    samples = bootstrap(problem, theta, 1000, 0)
    assert time.process_time() - began < 10  # 1 to 2 s on one quiet core
    assert samples.shape == (1000, 6)


@pytest.mark.parametrize("estimator", ["lsq", "lad"])
def test_resampled_residuals_are_centred_and_as_wide_as_the_noise(estimator: str) -> None:
    table = ladder(additive, np.random.default_rng(0), noise=0.01, seeded=())
    problem = Problem(LAW, replace(table, cluster=np.arange(len(table))), estimator)
    theta = multi_start(problem, np.random.default_rng(0)).theta
    losses = residual_resamples(problem, theta, 400, np.random.default_rng(0))
    noise = np.log(losses / np.exp(np.log(table.loss) - problem.residual(theta)))
    spread = problem.residual(theta).std() * np.sqrt(len(table) / (len(table) - 5))
    assert noise.std() == pytest.approx(spread, rel=0.03)
    assert abs(noise.mean()) < 0.1 * spread


def test_residuals_of_shared_trunks_are_refused() -> None:
    table = ladder(additive, np.random.default_rng(0))
    with pytest.raises(InputError, match="use the cluster bootstrap"):
        fit_law(table, resamples=20, kind="residual")
    with pytest.raises(InputError, match="no bootstrap 'wild': use one of cluster, residual"):
        fit_law(table, resamples=20, kind="wild")


def test_both_kinds_tell_the_same_story_where_runs_are_independent() -> None:
    table = ladder(additive, np.random.default_rng(3), seeded=())
    alone = replace(table, cluster=np.arange(len(table)))
    fits = [fit_law(alone, estimator="lsq", resamples=300, kind=kind) for kind in KINDS]
    assert fits[0].bse["alpha"] == pytest.approx(fits[1].bse["alpha"], rel=0.5)
    assert "bootstrap over residuals" in fits[1].summary()


def test_lower_minima_elsewhere_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a bad estimate the near refits stay in a bad minimum; the random starts leave it, for all rows."""
    table = ladder(joint, np.random.default_rng(0))
    problem = Problem(find_law("joint"), table)
    good = multi_start(problem, np.random.default_rng(0)).theta
    bad = np.array([2.0, 1e-3, 1e-3, 0.01, 0.01, 3.0])
    monkeypatch.setattr("analysis.uncertainty.bootstrap.PROBED", 10)
    theta = bootstrap(problem, bad, 40, 0)
    weights = cluster_resamples(table, problem.law, 40, np.random.default_rng(0))
    lowest = problem.objective(bootstrap(problem, good, 40, 0), weights)
    reached = problem.objective(theta, weights) < 1.01 * lowest + 1e-9
    assert reached[10:].mean() > 0.8
    near = problem.solve(np.broadcast_to(bad, (40, 6)), weights, near=True).objective
    assert np.mean(near < 1.01 * lowest + 1e-9) < 0.5


def long_table(seed: int, trunks: int = 0) -> LossTable:
    """LEAST_ROWS runs spread over N and D, each alone or five to a trunk with noise in common."""
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(4, 6, LEAST_ROWS), 10 ** rng.uniform(5.5, 8, LEAST_ROWS)
    noise = 0.004 * rng.standard_normal(LEAST_ROWS)
    frame = pd.DataFrame({"N": n, "D": d, "loss": additive(n, d) * np.exp(noise)})
    table = load_table(frame)
    if not trunks:
        return table
    cluster = np.arange(LEAST_ROWS) % trunks
    common = 0.004 * rng.standard_normal(trunks)[cluster]
    return replace(table, cluster=cluster, loss=table.loss * np.exp(common))


@pytest.mark.parametrize(("estimator", "trunks"), [("huber", 0), ("lsq_loss", 0), ("lsq", 400), ("gls", 400)])
def test_a_long_table_takes_one_step_as_good_as_a_refit(
    estimator: str, trunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(LAW, long_table(0, trunks), estimator)
    theta = multi_start(problem, np.random.default_rng(0)).theta
    stepped = bootstrap(problem, theta, 300, 0)
    weights = resampled_weights(problem, 300, np.random.default_rng(0))
    assert np.array_equal(stepped[CHECKED:], one_step(problem, theta, weights)[CHECKED:])
    monkeypatch.setattr(module, "LEAST_ROWS", LEAST_ROWS + 1)
    refits = bootstrap(problem, theta, 300, 0)
    assert not np.array_equal(stepped, refits)
    spread = refits.std(axis=0)
    assert np.all(np.sqrt(np.mean((stepped - refits) ** 2, axis=0)) < 1.5 * NEAR * spread)
    np.testing.assert_allclose(stepped.std(axis=0), spread, rtol=0.06)


def test_a_usual_estimate_is_not_refitted(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(LAW, long_table(0))
    assert not refitted(problem, multi_start(problem, np.random.default_rng(0)).theta, monkeypatch)


def refitted(problem: Problem, theta: np.ndarray, monkeypatch: pytest.MonkeyPatch, checked: int = 25) -> bool:
    """Whether `bootstrap` refits every resample of a long table."""
    monkeypatch.setattr(module, "CHECKED", checked)
    stepped = bootstrap(problem, theta, checked + 5, 0)
    monkeypatch.setattr(module, "LEAST_ROWS", LEAST_ROWS + 1)
    return np.array_equal(stepped, bootstrap(problem, theta, checked + 5, 0))


def test_where_a_step_is_not_as_good_every_resample_is_refitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight trunks in two thousand rows: a resample leaves whole trunks out and lies far away."""
    problem = Problem(LAW, long_table(0, trunks=8))
    theta = multi_start(problem, np.random.default_rng(0)).theta
    assert refitted(problem, theta, monkeypatch)


def test_a_parameter_at_its_bound_takes_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    table = long_table(0)
    problem = Problem(LAW, replace(table, loss=table.loss - 1.95))
    theta = multi_start(problem, np.random.default_rng(0)).theta
    assert theta[0] == 0
    assert one_step(problem, theta, np.ones((1, LEAST_ROWS))) is None
    assert refitted(problem, theta, monkeypatch)


def test_a_lower_minimum_elsewhere_forbids_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(find_law("joint"), long_table(0))
    assert refitted(problem, np.array([2.0, 1e-3, 1e-3, 0.01, 0.01, 3.0]), monkeypatch, checked=5)
