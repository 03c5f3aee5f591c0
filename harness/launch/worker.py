"""A worker process: takes jobs from standard input, one JSON line each, and trains one after the other.

The first line is the `WorkerConfig`. For every job one line comes back on standard output: `run_id`, `status`
(done, diverged, failed, interrupted) and `error`. Everything else a run leaves behind is in its folder.

Several workers train each run together when their environment names a coordinator, see
harness.train.distributed. They are given the same lines; the first one writes the files, its answers count.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.execution import Execution, MeshConfig
from harness.records import InputError, RunFolder, SweepFolder, write_json

if TYPE_CHECKING:
    from harness.spec import Job
    from harness.train.loop import TrainInputs

LOCK_SECONDS = 120.0


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker needs beside its jobs; `data` holds the fields of a `DataConfig`."""

    sweep: str
    cache_dir: str
    data: dict[str, Any]
    seq_len: int
    eval_tokens: int
    curve_eval_tokens: int
    task_items: int
    mesh: dict[str, int]
    execution: dict[str, Any]
    checkpoint_seconds: float

    @classmethod
    def from_line(cls, line: str) -> WorkerConfig:
        return cls(**json.loads(line))

    def to_line(self) -> str:
        return json.dumps(asdict(self))


class StopFlag:
    """Set by SIGTERM, and when the parent is gone."""

    def __init__(self) -> None:
        # The parent may have died before this line: its number comes from itself.
        self._parent = int(os.environ.get("HARNESS_PARENT") or os.getppid())
        self._told = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self._told = True

    def __call__(self) -> bool:
        return self._told or os.getppid() != self._parent


@contextlib.contextmanager
def run_lock(folder: RunFolder) -> Iterator[None]:
    """Hold a run for this process; the system lets go of it when the process dies."""
    folder.root.mkdir(parents=True, exist_ok=True)
    with open(folder.root / "lock", "w") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield


def build_inputs(config: WorkerConfig, should_stop: StopFlag) -> TrainInputs:
    """Load the prepared corpus and the fixed evaluation sets."""
    import jax

    from harness.data.packing import eval_windows
    from harness.data.prepare import DataConfig, prepare_corpus
    from harness.train.evaluate import EvalSet
    from harness.train.loop import TrainInputs
    from harness.train.mesh import make_mesh
    from harness.train.task_evaluation import TaskEvaluation

    cache = Path(config.cache_dir)
    jax.config.update("jax_compilation_cache_dir", str(cache / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    data = DataConfig.from_dict(config.data)
    corpus = prepare_corpus(data, cache, lambda text: print(text, file=sys.stderr))

    def eval_set(n_tokens: int) -> EvalSet:
        return EvalSet.build(eval_windows(corpus.eval, config.seq_len, n_tokens), corpus.token_bytes)

    curve_eval_set = eval_set(config.curve_eval_tokens)
    return TrainInputs(
        tokens=corpus.train,
        eval_set=eval_set(config.eval_tokens),
        curve_eval_set=curve_eval_set,
        tasks=TaskEvaluation.build(data.tasks, config.task_items, corpus, curve_eval_set.windows)
        if data.tasks and config.task_items
        else None,
        mesh=make_mesh(MeshConfig(**config.mesh)),
        execution=Execution(**config.execution),
        checkpoint_seconds=config.checkpoint_seconds,
        should_stop=should_stop,
    )


def set_state(folder: RunFolder, status: str, error: str | None = None) -> None:
    """Say how a run ended; its count of retries, its seconds and its warnings stay."""
    before = folder.read_state()
    kept = {key: before[key] for key in ("spent", "warnings") if key in before}
    state = {"status": status, "error": error, "updated": time.time(), "retries": before.get("retries", 0)}
    write_json(folder.state, state | kept)


def record_failure(folder: RunFolder, reason: str) -> None:
    """Say in the run's state why it failed, if the disk still takes it."""
    with contextlib.suppress(OSError):
        set_state(folder, "failed", reason)


def run_job(job: Job, sweep: SweepFolder, inputs: TrainInputs) -> dict[str, str]:
    """Train one job and return its reply line; an exception goes to the run's log."""
    from harness.train.distributed import is_first
    from harness.train.loop import Interrupted, train_job

    folder = sweep.run(job.spec.run_id)
    reply = {"run_id": job.spec.run_id}
    try:
        with run_lock(folder) if is_first() else contextlib.nullcontext():
            return reply | {"status": train_job(job, folder, inputs)}
    except Interrupted:
        if is_first():
            set_state(folder, "interrupted")
        return reply | {"status": "interrupted"}
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        reason = reason.split("\n")[0]
        if is_first():
            # On a full disk the log cannot be written; the reply still tells the driver.
            with contextlib.suppress(OSError), open(folder.log, "a") as log:
                log.write(traceback.format_exc())
            record_failure(folder, reason)
        return reply | {"status": "failed", "error": reason}


def main() -> None:
    """Serve jobs until standard input ends or a signal asks to stop."""
    core = os.environ.get("HARNESS_CORE")
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Standard output is for answers alone; what libraries print there (Gloo does) goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from harness.spec import Job
    from harness.train.distributed import initialize_from_environment, is_alone

    stop = StopFlag()
    config = WorkerConfig.from_line(sys.stdin.readline())
    initialize_from_environment()
    inputs = build_inputs(config, stop)
    sweep = SweepFolder(Path(config.sweep))
    for line in sys.stdin:
        job = Job.from_dict(json.loads(line))
        reply = run_job(job, sweep, inputs)
        print(json.dumps(reply), file=answers, flush=True)
        # After a failure the processes of one run may stand at different places: they start anew.
        if reply["status"] == "interrupted" or (reply["status"] == "failed" and not is_alone()):
            break


if __name__ == "__main__":
    main()
