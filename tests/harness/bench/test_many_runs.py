"""The benchmark of a folder of many runs: what it counts and refuses, and all of it on few runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.bench.many_runs import main, of_step, unfinished
from harness.bench.reading import DRIVER, STEPS, Cost, cost, plain_reading
from tests.fakes.copies import many_runs


def test_openings_of_a_step_are_counted(tmp_path: Path) -> None:
    folder, _ = many_runs(tmp_path, 3)
    found = cost(STEPS["status"], folder.root, [])
    names = sorted(Path(path).name for path in found.opened)
    assert names == ["state.json"] * 3 + ["sweep.json"]
    assert set(found.opened.values()) == {1}
    assert found.cpu > 0
    assert found.peak_mb > 20
    assert found.more == {}
    assert plain_reading(list(found.opened))["cpu"] > 0


def test_the_start_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    gone = str(tmp_path / "gone.json")
    large = Cost(5.0, 6.0, 100.0, {str(path): 2, gone: 1}, {"x": 0.25})
    figures = of_step(large, Cost(1.0, 1.0, 50.0, {}, {}))
    assert figures["ratio"] == pytest.approx(4.0 / figures["plain_cpu_seconds"])
    assert (figures["files"], figures["openings_of_a_file"]) == (2, 2)
    assert figures["cpu_milliseconds"] == {"x": 250.0}


def test_hidden_end_points_come_back(tmp_path: Path) -> None:
    folder, _ = many_runs(tmp_path, 3)
    before = sorted(folder.runs.glob("*/points/*.json"))
    with unfinished(folder, 2) as runs:
        assert len(runs) == 2
        assert len(list(folder.runs.glob("*/points/*.json"))) == 2
    assert sorted(folder.runs.glob("*/points/*.json")) == before


def test_too_few_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "1"]) == 2
    assert capsys.readouterr().err == "error: runs is 1, expected 2 to 1000000 (--runs)\n"


@pytest.mark.slow
def test_all_steps_of_a_few_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--runs", "6", "--json", str(tmp_path / "out.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["steps"]) == {*STEPS, "driver"}
    assert found["runs"] == 6
    assert found["steps"]["tables"]["openings_of_a_file"] == 1
    assert set(found["steps"]["driver"]["cpu_milliseconds"]) == {
        "look without news",
        "look at a curve that changed",
        "next of the waiting runs",
    }
    assert all(name in DRIVER[1] for name in found["steps"]["driver"]["cpu_milliseconds"])
    assert json.loads((tmp_path / "out.json").read_text())["steps"] == found["steps"]
