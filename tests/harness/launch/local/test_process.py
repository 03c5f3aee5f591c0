"""Workers that end before their first run: what they said is kept, and hopeless ones are not repeated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.data.build import DataConfig
from harness.grid.cells import job_flops, jobs
from harness.launch import supervise
from harness.launch.local import local
from harness.launch.local.local import LocalLauncher
from harness.launch.local.places import Seat
from harness.launch.local.process import WORKER_COMMAND
from harness.launch.worker import CANNOT_START_EXIT_CODE, WorkerConfig
from harness.records.paths import SweepFolder
from tests.small_sweeps import small_cells


def config(folder: Path, cache: Path) -> WorkerConfig:
    data = asdict(DataConfig("synthetic", 32, synthetic_tokens=100_000, min_eval_tokens=8_224))
    return WorkerConfig(str(folder), str(cache), data, 32, 8192, 2048, {}, {}, 0.2)


@pytest.mark.parametrize(("code", "attempts"), [(CANNOT_START_EXIT_CODE, 1), (1, 2)])
def test_the_output_is_in_a_file_that_the_message_names(
    code: int, attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "BACK_OFF_SECONDS", 0.01)
    # The last byte is no UTF-8.
    program = f"import sys; sys.stderr.buffer.write(b'one\\ntwo \\xff\\n'); sys.exit({code})"
    made = LocalLauncher(
        config(tmp_path, tmp_path), [Seat()], job_flops, command=(sys.executable, "-c", program)
    )
    supervisor = supervise.Supervisor(made, SweepFolder(tmp_path), 2)
    supervisor.add([(job,) for job in jobs(small_cells())])
    (outcome,) = supervisor.outcomes(lambda _: None)
    made.close()
    assert (outcome.status, outcome.attempts) == ("failed", attempts)
    said = rf"worker ended with exit code {code}: two .; its output is in (\S+) of the results folder"
    told = re.fullmatch(said, str(outcome.error))
    assert told
    assert (tmp_path / told[1]).read_text() == "one\ntwo \ufffd\n"


def test_an_idle_worker_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that its run failed, and then some thread of it waits."""
    monkeypatch.setattr(local, "STOP_SECONDS", 0.3)
    (job,) = jobs(small_cells())
    answer = {"run_id": job.spec.run_id, "status": "failed", "points": {}, "error": "lost", "retry": False}
    program = (
        f"import json, time; input(); input(); print(json.dumps(dict(outcomes=[{answer}])), flush=True); "
        "time.sleep(600)"
    )
    made = LocalLauncher(
        config(tmp_path, tmp_path), [Seat()], job_flops, command=(sys.executable, "-c", program)
    )
    supervisor = supervise.Supervisor(made, SweepFolder(tmp_path), 1)
    supervisor.add([(job,)])
    (outcome,) = supervisor.outcomes(lambda _: None)
    began = time.monotonic()
    made.close()
    assert outcome.error == "lost"
    assert time.monotonic() - began < 60


def test_a_worker_without_its_platform_could_not_start_anywhere(tmp_path: Path, data_cache: Path) -> None:
    """JAX would end at the import for a truth value that is none, if the worker had not dropped it."""
    done = subprocess.run(
        WORKER_COMMAND,
        input=config(tmp_path, data_cache).to_line() + "\n",
        env=os.environ | {"JAX_PLATFORMS": "nonsense", "JAX_ENABLE_X64": "perhaps"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == CANNOT_START_EXIT_CODE
    assert "nonsense" in done.stderr
