"""Files of a run: read back as they were written, by an earlier version, half written, or by a later one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from harness.records.errors import InputError
from harness.records.files import write_json
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.run_files import (
    Failure,
    RunState,
    RunStatus,
    Submission,
    read_attempts,
    read_state,
    read_submission,
)
from tests import ROOT

# As the version before typed records wrote it.
OLD_STATE = {
    "status": "running",
    "pid": 2401,
    "host": "vm",
    "retries": 1,
    "failures": [{"time": 1.5, "error": "OSError: full"}],
    "tokens_ahead": 614400,
    "tokens_trained": 8192,
    "loss": 3.75,
    "tokens_per_second": 182984.1,
    "seconds": 13.4,
    "spent": {"training steps": 3.4},
    "updated": 1795948858.4,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_a_state_comes_back(path: Path) -> None:
    state = RunState(
        status=RunStatus.FAILED, error="OSError: full", retry=True, failures=(Failure(1.5, "OSError: full"),)
    )
    write_record(path, state)
    assert read_state(path) == state


def test_a_state_of_the_version_before_is_read(path: Path) -> None:
    write_json(path, OLD_STATE)
    found = read_state(path)
    assert (found.status, found.retries, found.n_lanes, found.retry) == (RunStatus.RUNNING, 1, 1, False)
    assert found.failures == (Failure(1.5, "OSError: full"),)
    assert found.spent == {"training steps": 3.4}


@pytest.mark.parametrize("text", [None, "", '{"status": "run', "\0\0\0"])
def test_a_state_that_is_missing_or_half_written_has_not_begun(path: Path, text: str | None) -> None:
    if text is not None:
        path.write_text(text)
    assert read_state(path) == RunState()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"schema": 2, "status": "running"}, "written under schema 2 and this version reads up to 1"),
        ({"status": "asleep"}, "status"),
        ({"mood": "good"}, "mood"),
        ([1], "expected a JSON object"),
    ],
)
def test_a_foreign_state_is_one_sentence(path: Path, content: object, words: str) -> None:
    write_json(path, content)
    with pytest.raises(InputError, match=words) as caught:
        read_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_submission_comes_back_and_an_older_one_is_read(tmp_path: Path) -> None:
    run = SweepFolder(tmp_path).run("aa")
    assert read_submission(run.submission) is None
    write_record(run.submission, Submission(launcher="slurm", job="17_3", log="log/17_3"))
    assert read_submission(run.submission) == Submission(launcher="slurm", job="17_3", log="log/17_3")
    write_json(run.submission, {"launcher": "slurm", "job": "18_1", "log": "log/18_1"})
    assert read_submission(run.submission) == Submission(launcher="slurm", job="18_1", log="log/18_1")
    run.submission.write_text("{")
    assert read_submission(run.submission) is None


@pytest.mark.parametrize("text", [None, "[", '[{"time": 1.0}]'])
def test_attempts_that_cannot_be_read_are_forgotten(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "provenance.json").write_text(text)
    assert read_attempts(tmp_path / "provenance.json") == []


def test_every_status_has_its_word_in_the_tables_and_an_explanation() -> None:
    assert [status.value for status in RunStatus] == [status.name.lower() for status in RunStatus]
    source = (ROOT / "harness" / "records" / "run_files.py").read_text()
    assert [s for s in RunStatus if f'{s.name} = "{s}"\n    """' not in source] == []


def test_results_readme_explains_every_key_of_the_state() -> None:
    text = (ROOT / "results" / "README.md").read_text().split("`state.json`: ")[1].split("\n\n")[0]
    assert [field.name for field in fields(RunState) if f"`{field.name}`" not in text] == []
    assert [status for status in RunStatus if status not in text] == []
