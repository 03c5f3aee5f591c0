"""A worker whose runs take no time, for harness.bench.scheduling.

It has the protocol, leases and files of harness.launch.worker. Instead of training, it writes the end points
of each job with a loss that follows a scaling law.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.launch.worker import WorkerConfig, attempt_here, own_run, record_attempt
from harness.recipe import counting
from harness.recipe.spec import Job
from harness.records.files import write_json
from harness.records.paths import RunFolder, SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.rows import point_row
from harness.runs.state import set_state


def loss_of(job: Job, n_tokens: int) -> float:
    """Return a loss in nats per token by an additive scaling law, with a small deviation per seed."""
    n = counting.n_params_matmul(job.spec.model)
    return (1.5 + 20.0 * n**-0.35 + 200.0 * n_tokens**-0.4) * (
        1.0 + 1e-3 * ((7 * job.spec.seed) % 11 - 5) / 5
    )


def finish(job: Job, folder: RunFolder) -> None:
    """Write the files of a finished run."""
    write_json(folder.spec, job.spec.to_dict())
    for n_tokens in job.n_tokens:
        loss = loss_of(job, n_tokens)
        measured = {"loss": loss, "loss_sem": 1e-3, "bits_per_byte": loss, "n_unique_tokens": n_tokens}
        how = {"status": RunStatus.DONE, "excluded_reason": None, "seconds": 0.0, "device": "none"}
        row = point_row(job.spec, n_tokens) | measured | how
        write_json(folder.point(row["point_id"]), row)
    set_state(folder, RunStatus.DONE)


def main() -> None:
    """Process jobs until standard input ends."""
    config = WorkerConfig.from_line(sys.stdin.readline())
    sweep = SweepFolder(Path(config.sweep))
    attempt = None if config.origin is None else attempt_here(config.origin)
    for line in sys.stdin:
        outcomes: list[dict[str, Any]] = []
        for job in (Job.from_dict(values) for values in json.loads(line)["jobs"]):
            folder = sweep.run(job.spec.run_id)
            with own_run(folder):
                if attempt is not None:
                    record_attempt(folder, attempt)
                finish(job, folder)
            outcomes.append({"run_id": job.spec.run_id, "status": RunStatus.DONE})
        print(json.dumps({"outcomes": outcomes}), flush=True)


if __name__ == "__main__":
    main()
