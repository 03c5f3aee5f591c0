"""Table of the runs of a sweep, printed once or watched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.records.paths import SweepFolder
from harness.status import main
from tests import ROOT
from tests.fakes.running import running_sweep
from tests.fakes.runs import finish, planned_sweep, state


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return planned_sweep(tmp_path)


def test_the_table_shows_progress_speed_time_left_and_errors(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = {"seconds": 10.0, "tokens_trained": 250, "tokens_ahead": 1000, "tokens_per_second": 25.0}
    state(folder, "running", loss=3.21, **speed)
    finish(folder, "aa1")
    state(folder, "failed", run="bb", error="OSError: disk", retries=7)
    assert main([str(folder.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (first,) = [line for line in lines if "aa" in line]
    assert all(word in first for word in ("d16", "running", "1/2", "3.210", " 25 ", "30 s"))
    (second,) = [line for line in lines if "bb" in line]
    assert "failed" in second
    assert "OSError: disk" in second
    assert " 8 " in second
    assert lines[-1] == "1 running, 1 failed; 25 tokens/s in all, about 30 s left"


def test_a_folder_that_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "sweep.json is missing" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--all"]])
def test_one_folder_is_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert ("unknown argument b" if "b" in arguments else "required: folder") in error


def test_a_large_sweep_shows_what_matters_first(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.status.MAX_ROWS", 1)
    state(folder, "failed", run="bb", error="[Errno 28] no space")
    assert main([str(folder.root)]) == 0
    shown = capsys.readouterr().out
    assert "1 more runs are not shown; --all shows them" in shown
    assert "bb" in shown
    assert "[Errno 28]" in shown
    assert "aa" not in shown
    assert main([str(folder.root), "--all"]) == 0
    assert "aa" in capsys.readouterr().out


def test_watching_ends_when_every_run_has(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.run("bb").log.parent.mkdir(parents=True)
    folder.run("bb").log.write_text("Traceback")

    def happen(_: float) -> None:
        finish(folder, "aa1", "aa2")
        state(folder, "failed", run="bb")

    monkeypatch.setattr("harness.status.time.sleep", happen)
    assert main([str(folder.root), "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 missing"
    assert lines[1] == lines[-1] == "1 finished, 1 failed"
    assert f"log of bb: {folder.run('bb').log}" in "".join(lines)


@pytest.mark.parametrize("text", ["[1]", '{"recipe": {}}', '{"cells'])
def test_a_file_that_is_no_record(folder: SweepFolder, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder.sweep.write_text(text)
    assert main([str(folder.root)]) == 2
    assert "is no record of a sweep" in capsys.readouterr().err


def test_where_running_runs_end_and_who_left_its_band(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column with the last end and its interval; an alarm names run, step and distance."""
    longest, true = running_sweep(tmp_path, until=4_000)
    assert main([str(tmp_path), "--all"]) == 0
    text = capsys.readouterr().out
    assert "ends at, 90 %" in text
    (line,) = [line for line in text.splitlines() if longest in line]
    (found,) = re.findall(r"(\d\.\d{3}) ± (\d\.\d{3})", line)
    loss, half = map(float, found)
    assert 0.01 < half < 0.1
    assert loss == pytest.approx(min(true.values()), rel=0.03)
    assert "alarm" not in text
    running_sweep(tmp_path, until=4_000, factor=1.08, after=2_000)
    assert main([str(tmp_path), "--all"]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"alarm: d96 seed 50 left its band at step 2048: loss \d\.\d+, expected \d\.\d+, \d\.\d % "
        r"\(\d\.\d standard deviations\) above",
        text,
    )


def test_nothing_is_forecast_of_a_finished_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "results" / "chinchilla"), "--all"]) == 0
    assert "ends at" not in capsys.readouterr().out
