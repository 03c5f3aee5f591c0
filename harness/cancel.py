"""`python -m harness.cancel results/<sweep> [RUN_ID ...]`: ask runs to save their state and stop.

A request is a file beside the runs. Workers look for it, wherever they run; a signal would not reach other
hosts. Runs that wait are not started. The sweep command removes the request and goes on with the runs.
Exit codes: 0 asked, or nothing left to cancel; 2 wrong input.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from harness.launch.slurm.slurm import RUNNING_STATES, queued
from harness.launch.stop import sweep_request
from harness.records.command_line import CommandParser
from harness.records.errors import InputError, near
from harness.records.files import write_json
from harness.records.paths import RunFolder, SweepFolder
from harness.records.run_files import RunStatus
from harness.records.status import lease_file
from harness.records.status.rows import ENDED, RowStatus, read_sweep, run_rows
from harness.runs.state import set_state, slurm_submission


def cancel(folder: SweepFolder, run_ids: list[str]) -> str:
    """Ask runs to save and stop.

    Args:
        folder: folder of the sweep.
        run_ids: runs to stop; empty means the whole sweep.

    Returns:
        One sentence on the runs that were asked, and how to go on.

    Raises:
        InputError: the folder is no sweep, or has no such run.
    """
    rows = {row.run_id: row for row in run_rows(folder)}
    for run_id in run_ids:
        if run_id not in rows:
            raise InputError(
                f"{run_id} is no run of {folder.root}; type python -m harness.status {folder.root} --all, "
                f"which lists them{near(run_id, list(rows))}"
            )
    left = [row for name, row in rows.items() if row.status not in ENDED and name in (run_ids or rows)]
    if not left:
        return "nothing to cancel: the runs have ended"
    for path in [folder.run(run_id).cancel for run_id in run_ids] or [sweep_request(folder)]:
        write_json(path, {})
    _leave_the_queue([folder.run(row.run_id) for row in left])
    n_running = sum(row.status == RowStatus.RUNNING for row in left)
    return (
        f"{n_running} running runs are asked to save and stop, {len(left) - n_running} others are not "
        f"started; to go on: {read_sweep(folder).command}"
    )


def clear_requests(folder: SweepFolder, run_ids: set[str]) -> None:
    """Remove the requests to stop these runs, and the request to stop the sweep."""
    for path in [sweep_request(folder), *(folder.run(run_id).cancel for run_id in run_ids)]:
        path.unlink(missing_ok=True)


def _leave_the_queue(runs: list[RunFolder]) -> None:
    """Remove waiting jobs from Slurm's queue; jobs that have started find the request themselves."""
    jobs = {run: submitted.job for run in runs if (submitted := slurm_submission(run))}
    if not jobs or shutil.which("scancel") is None:
        return
    states = queued() or {}
    waiting = [run for run, job in jobs.items() if job in states and states[job] not in RUNNING_STATES]
    if waiting:
        subprocess.run(["scancel", *(jobs[run] for run in waiting)], check=False, capture_output=True)
    for run in waiting:
        # The job may have started between squeue and scancel, and its worker then writes the status.
        if lease_file.holder(run) is None:
            set_state(run, RunStatus.INTERRUPTED)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser(
        "harness.cancel",
        "Ask the runs of a sweep to save their state and stop; the sweep's own command goes on with them.",
        "python -m harness.cancel results/chinchilla",
    )
    parser.add_argument("folder", type=Path, help="folder of a sweep, for example results/chinchilla")
    parser.add_argument(
        "run_ids",
        nargs="*",
        default=[],
        metavar="RUN_ID",
        help="runs to stop, as harness.status names them (default: the whole sweep)",
    )
    return parser.answer(arguments, lambda given: print(cancel(SweepFolder(given.folder), given.run_ids)))


if __name__ == "__main__":
    sys.exit(main())
