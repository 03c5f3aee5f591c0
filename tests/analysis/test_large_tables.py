"""Tables of tens of thousands of rows: memory and time grow with the rows, not with their square."""

from __future__ import annotations

import re
import resource
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.kaplan import lines
from analysis.approaches.parametric import fit_law
from analysis.approaches.slices import interpolated_slices, measured_slices
from analysis.arrays import Array
from analysis.contest import rollout as rollouts
from analysis.contest.rollout import cuts, rollout, rollout_rms
from analysis.fit import main
from analysis.laws import find_law
from analysis.solve import problem as problems
from analysis.tables.seed_noise import TrunkNoise, seed_noise, trunk_share
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.bootstrap import cluster_resamples
from tests.fakes.tables import additive

LAW = find_law("chinchilla")


def large(rows: int) -> LossTable:
    """A table with two seeds of every cell, no cell like another, and trunks of four rows."""
    rng = np.random.default_rng(1)
    n = np.repeat(np.exp(rng.uniform(np.log(1e5), np.log(1e8), rows // 4)), 4)
    d = np.repeat(np.exp(rng.uniform(np.log(1e7), np.log(1e10), rows // 2)), 2)
    trunk = 2 * (np.arange(rows) // 4) + np.arange(rows) % 2
    noise = 0.002 * (rng.standard_normal(2 * rows)[trunk] + rng.standard_normal(rows))
    loss = additive(n, d) * np.exp(noise)
    return load_table(
        pd.DataFrame({"N": n, "D": d, "loss": loss, "trunk": trunk}), mapping={"cluster": "trunk"}
    )


PARTS: dict[str, Callable[[LossTable], object]] = {
    "reading": lambda t: load_table(pd.DataFrame({"N": t.n, "D": t.d, "loss": t.loss})),
    "seed noise": seed_noise,
    "share of a trunk": trunk_share,
    "noise without that of a trunk": lambda t: TrunkNoise.of(t.cluster, 0.5).remove(
        np.log(t.loss)[None], np.ones((1, len(t)))
    ),
    "drawn trunks": lambda t: cluster_resamples(t, LAW, 4, np.random.default_rng(0)),
    "measured slices": lambda t: measured_slices(t.n, t.d, t.c, t.loss),
    "interpolated slices": lambda t: interpolated_slices(t.n, t.d, t.c, 3),
    "cuts": lambda t: cuts(t, ["chinchilla"]),
    "Kaplan's lines": lines,
}


@pytest.mark.parametrize("part", PARTS)
def test_memory_grows_with_the_rows(part: str) -> None:
    peaks = []
    for rows in (1_000, 4_000):
        table = large(rows)
        tracemalloc.start()
        PARTS[part](table)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 8 * peaks[0], "four times the rows"


def test_four_times_the_rows_take_less_than_three_times_as_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command as a user types it, by processor time: 4 to 6 s for 20,000 rows, as the machine is."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    seconds = []
    for rows in (5_000, 20_000):
        table, path = large(rows), tmp_path / f"{rows}.csv"
        frame = pd.DataFrame({"N": table.n, "D": table.d, "loss": table.loss, "trunk": table.cluster})
        frame.to_csv(path, index=False)
        began = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        assert main([str(path), "--map", "cluster=trunk"]) == 0
        seconds.append(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - began)
        said = capsys.readouterr()
        assert "chinchilla" in said.out
    print(" and ".join(f"{each:.1f} s" for each in seconds))
    assert re.search(r"^ *\d+ s  \S", said.err, re.MULTILINE), "progress"
    # Twice as long with the pilot, four times without it.
    assert seconds[1] < 3 * seconds[0]


def test_a_pilot_leads_to_the_minimum_over_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = large(600)
    whole = fit_law(table, resamples=20, estimator="gls")
    monkeypatch.setattr(problems, "LARGE", 500)
    monkeypatch.setattr(problems, "PILOT_ROWS", 250)
    piloted = fit_law(table, resamples=20, estimator="gls")
    assert piloted.theta == pytest.approx(whole.theta, rel=1e-5)
    assert piloted.objective == pytest.approx(whole.objective, rel=1e-9)
    assert piloted.samples == pytest.approx(whole.samples, rel=1e-3)
    assert [warning.code for warning in piloted.warnings] == [warning.code for warning in whole.warnings]


def test_a_pilot_with_too_few_rows_of_a_member_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    table = large(600)
    at = np.sort(table.c)[[40]]
    whole = rollout_rms(rollout(table, "chinchilla", at))
    monkeypatch.setattr(problems, "LARGE", 500)
    monkeypatch.setattr(problems, "PILOT_ROWS", 60)
    assert rollout_rms(rollout(table, "chinchilla", at)) == pytest.approx(whole)


def test_many_cells_above_a_compute_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    table = large(300)
    at = np.sort(table.c)[[150]]
    every = rollout(table, "chinchilla", at)
    monkeypatch.setattr(rollouts, "MAX_PREDICTED", 20)
    some = rollout(table, "chinchilla", at)
    assert len(some) == 20 < len(every)
    assert {entry.row for entry in some} < {entry.row for entry in every}


@pytest.mark.parametrize("shape", [(3, 12), (2, 12, 4)])
def test_noise_of_trunks_is_removed_as_by_the_matrix(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    cluster = np.array([5, 5, 1, 1, 1, 7, 2, 2, 7, 7, 9, 1])
    values, weights = rng.normal(size=shape), (rng.random(shape[:2]) < 0.7).astype(float)
    assert TrunkNoise.of(cluster, 0.4).remove(values, weights) == pytest.approx(
        by_matrix(cluster, 0.4 / 0.6, values, weights)
    )


def by_matrix(cluster: Array, ratio: float, values: Array, weights: Array) -> Array:
    """The transformation of Fuller and Battese written with a matrix of trunks [rows, trunks]."""
    members = np.eye(cluster.max() + 1)[cluster]
    columns = values.reshape(*weights.shape, -1)
    total = (weights @ members)[..., None]
    mean = members.T @ (weights[..., None] * columns) / np.where(total > 0, total, 1.0)
    taken = 1 - 1 / np.sqrt(1 + ratio * ((weights > 0) @ members))
    return np.asarray(columns - members @ (taken[..., None] * mean)).reshape(values.shape)


def test_a_table_says_its_cells_once() -> None:
    table = large(20)
    assert table.cell is table.cell
    assert len(replace(table, n=np.ones(len(table))).cell) == len(table)
