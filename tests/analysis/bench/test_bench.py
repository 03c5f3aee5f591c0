"""The benchmark on small sizes: what it compares is right; how long it takes is nobody's assertion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis.bench import __main__ as bench
from analysis.bench.__main__ import Row, batched, envelope, fit_curves, points_240, write_curves
from analysis.bench.scipy_alone import scipy_alone
from analysis.solve.problem import checked_problem
from harness.records.paths import SweepFolder


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SCALING_DATA_DIR", raising=False)
    return


@pytest.mark.usefixtures("simulated")
def test_without_published_points_simulated_ones_are_taken_and_named() -> None:
    table, source = points_240(0)
    assert len(table) == bench.ROWS
    assert source.startswith("simulated")


@pytest.mark.usefixtures("simulated")
def test_scipy_and_the_batch_minimise_the_same_sum() -> None:
    table, _ = points_240(0)
    problem = checked_problem(table, "chinchilla")
    starts = problem.law.starts(table, np.random.default_rng(0), 3)
    weights = np.random.default_rng(1).integers(0, 3, (3, len(table))).astype(float)
    theirs = scipy_alone(problem, starts, weights)
    np.testing.assert_allclose(problem.solve(starts, weights).objective, theirs.objective, rtol=1e-4)
    assert theirs.seconds_each > 0


@pytest.mark.usefixtures("simulated")
def test_rows_of_the_batched_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SAMPLED_STARTS", 3)
    monkeypatch.setattr(bench, "SAMPLED_RESAMPLES", 2)
    rows = list(batched(points_240(0)[0], 0, starts=8, resamples=4))
    text = "\n".join(row.text() for row in rows)
    assert "8 starts, batched" in text
    assert "extrapolated from 3 starts, 2 resamples" in text
    assert [row.measured for row in rows if "no worse" in row.what] == ["3 of 3", "2 of 2"]
    assert [row.goal for row in rows if row.what == "both"] == ["≤ 5 s"]


def test_a_goal_is_met_missed_or_not_set() -> None:
    assert Row("w", "9 s", "≤ 5 s", True).text().endswith("OFF")
    assert Row("w", "1 s", "≤ 5 s", False).text().endswith("ok")
    assert Row("w", "1 s").text().endswith("1 s")


def test_curves_lie_above_the_law_s_frontier(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    write_curves(folder, 20_000, seed=0)
    text = fit_curves(folder)
    hull = float(text.split("hull a = ")[1].split(",")[0])
    assert hull == pytest.approx(0.51, abs=0.06)
    assert float(text.split()[-2]) > 0.05


def test_the_envelope_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    seconds, memory = envelope(tmp_path, 0, rows=20_000)
    assert "20000 rows" in seconds.what
    assert memory.measured.endswith("GB")


def test_a_folder_without_tables_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--curves", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
