"""Worker process: reads packs of jobs from standard input and trains one pack after the other.

The protocol has one JSON value per line. The driver sends the `WorkerConfig` first, then a line per pack:

    {"jobs": [...]}

For each pack the worker answers with one line on standard output, one outcome per job:

    {"outcomes": [{"run_id", "status", "error", "retry"}, ...]}

`status` is a RunStatus, WAITING if another process holds the lease of the run. An interrupted job also has
`cancelled` if `harness.cancel` asked for it. `retry` says whether another attempt may end otherwise. All
other results are in the folders of the runs.

If the environment names a coordinator, several workers train each run together as ranks of one program, see
harness.engine.distributed. All ranks receive the same lines. Rank 0 writes the files, and its answers count.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.execution import numerics
from harness.execution.execution import Execution, MeshConfig
from harness.grid.packs import lanes_of
from harness.launch import lease
from harness.launch.stop import StopFlag, StopOrCancel, is_cancelled
from harness.recipe.spec import Job, Pack
from harness.records.errors import WRONG_INPUT_EXIT_CODE, InputError
from harness.records.json_files import from_json
from harness.records.paths import RunFolder, SweepFolder, programs_folder
from harness.records.provenance import provenance
from harness.records.run_files import Attempt, Origin, RunStatus, read_attempts, write_attempts
from harness.runs.finished import unfinished
from harness.runs.state import record_failure

if TYPE_CHECKING:
    from harness.train.loop import TrainInputs

# EX_CONFIG of sysexits.h: JAX or the corpus does not start here, and would not at another try.
CANNOT_START_EXIT_CODE = 78
CANCELLED = {"status": RunStatus.INTERRUPTED, "cancelled": True}
# Errors of a disk that is full, over quota or unreachable for a while.
PASSING_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


@dataclass(frozen=True)
class WorkerConfig:
    """Settings of a worker that all its jobs share.

    Attributes:
        sweep: folder of the sweep.
        cache_dir: folder of corpora and compiled programs.
        data: fields of a `DataConfig`.
        seq_len: tokens of a window.
        eval_tokens: tokens scored at end points.
        curve_eval_tokens: tokens scored during training.
        mesh: sizes of the mesh axes.
        execution: fields of an `Execution`.
        checkpoint_seconds: seconds between two checkpoints.
        pack: largest number of lanes; None leaves the choice to the platform.
        task_items: test items per task and length; 0 evaluates no tasks.
        kept: ids of the end points whose parameters are kept.
        keep_precision: `fp32` or `bf16`, of kept parameters.
        origin: the sweep, for provenance.json; None records no provenance.
    """

    sweep: str
    cache_dir: str
    data: dict[str, Any]
    seq_len: int
    eval_tokens: int
    curve_eval_tokens: int
    mesh: dict[str, int]
    execution: dict[str, Any]
    checkpoint_seconds: float
    pack: int | None = None
    task_items: int = 0
    kept: tuple[str, ...] = ()
    keep_precision: str = "fp32"
    origin: Origin | None = None

    @classmethod
    def from_line(cls, line: str) -> WorkerConfig:
        """Parse the first line of the protocol."""
        values = json.loads(line)
        origin = values.pop("origin")
        values["kept"] = tuple(values["kept"])
        return cls(**values, origin=None if origin is None else from_json(origin, Origin, "the first line"))

    def to_line(self) -> str:
        """Return the first line of the protocol, without its end of line."""
        return json.dumps(asdict(self))


def attempt_here(origin: Origin) -> Attempt:
    """Return the provenance of attempts of this process: code, versions, host and devices."""
    import jax

    return Attempt(
        **vars(provenance()),
        **vars(origin),
        host=socket.gethostname(),
        platform=jax.default_backend(),
        devices=tuple(device.device_kind for device in jax.devices()),
    )


def record_attempt(folder: RunFolder, attempt: Attempt) -> None:
    """Add an attempt that begins now to the run's provenance."""
    from harness.engine.distributed import is_first

    if is_first():
        before = read_attempts(folder.provenance)
        write_attempts(folder.provenance, [*before, replace(attempt, time=time.time())])


def build_inputs(config: WorkerConfig, should_stop: StopFlag) -> TrainInputs:
    """Load the prepared corpus and build the evaluation sets, which all runs share."""
    from harness.data.build import DataConfig
    from harness.data.prepare import prepare_corpus
    from harness.engine.compiled import use_cache
    from harness.engine.mesh import make_mesh
    from harness.evaluate.eval_set import eval_set
    from harness.evaluate.tasks import TaskEvaluation
    from harness.train.loop import TrainInputs
    from harness.weights.kept import Keep

    cache = Path(config.cache_dir)
    use_cache(programs_folder(cache))
    data = DataConfig.from_dict(config.data)
    corpus = prepare_corpus(data, cache, lambda text: print(text, file=sys.stderr))

    curve_eval_set = eval_set(corpus, config.seq_len, config.curve_eval_tokens)
    return TrainInputs(
        tokens=corpus.train,
        eval_set=eval_set(corpus, config.seq_len, config.eval_tokens),
        curve_eval_set=curve_eval_set,
        tasks=TaskEvaluation.build(data.tasks, config.task_items, corpus, curve_eval_set.windows)
        if data.tasks and config.task_items
        else None,
        mesh=make_mesh(MeshConfig(**config.mesh)),
        execution=Execution(**config.execution),
        checkpoint_seconds=config.checkpoint_seconds,
        should_stop=should_stop,
        keep=Keep(frozenset(config.kept), config.keep_precision, corpus.tokenizer),
    )


def run_pack(
    pack: Pack,
    sweep: SweepFolder,
    inputs: TrainInputs,
    lanes: int | None = None,
    attempt: Attempt | None = None,
) -> list[dict[str, Any]]:
    """Train the jobs of a pack side by side, and return an answer for each job, in order.

    Jobs whose runs another process holds are left to it, and answered as waiting.

    Args:
        pack: Jobs whose recipes compile to the same program.
        sweep: Folder of the sweep.
        inputs: Data, mesh and options that all runs share.
        lanes: Largest number of lanes, as `launcher.pack`; None leaves the choice to the platform.
        attempt: Provenance to record with each run; None records none.
    """
    from harness.engine.step import platform_of
    from harness.train.pack import train_pack

    folders = {job: sweep.run(job.spec.run_id) for job in pack}
    answers: dict[Job, dict[str, Any]] = {}
    disturbed: set[RunFolder] = set()
    with contextlib.ExitStack() as owned:
        for job in pack:
            ended = _begin(job, folders[job], owned, attempt, disturbed)
            answers |= {} if ended is None else {job: ended}
        mine = [job for job in pack if job not in answers]
        at_most = lanes_of(pack[0].spec.model, lanes, platform_of(inputs.mesh) != "cpu")
        own = [folders[job] for job in mine]
        inputs = replace(inputs, should_stop=StopOrCancel(inputs.should_stop, own))
        endings = train_pack(mine, own, inputs, at_most)
        answers |= {
            job: _answer(folders[job], end, own, folders[job] in disturbed)
            for job, end in zip(mine, endings, strict=True)
        }
    return [{"run_id": job.spec.run_id} | answers[job] for job in pack]


def run_job(job: Job, sweep: SweepFolder, inputs: TrainInputs) -> dict[str, Any]:
    """Train one job alone, unless another process holds its lease, and return its answer."""
    return run_pack((job,), sweep, inputs, lanes=1)[0]


def _begin(
    job: Job,
    folder: RunFolder,
    owned: contextlib.ExitStack,
    attempt: Attempt | None,
    disturbed: set[RunFolder],
) -> dict[str, Any] | None:
    """Take the lease of a job's run, and return the answer if there is nothing to train, else None.

    Args:
        job: the job.
        folder: folder of its run.
        owned: exit stack that holds the lease.
        attempt: provenance to record; None records none.
        disturbed: gets the folder if a silent owner of before may wake up and write there.
    """
    from harness.engine.distributed import told_by_first

    try:
        if owned.enter_context(own_run(folder)):
            disturbed.add(folder)
        if told_by_first(is_cancelled(folder)):
            return CANCELLED
        if attempt is not None:
            record_attempt(folder, attempt)
    except lease.Held:
        return {"status": RunStatus.WAITING}
    except OSError as error:
        return failure(folder, error, folder in disturbed)
    ended = ended_before(job, folder)
    return {"status": ended} if ended else None


def _answer(
    folder: RunFolder, ending: RunStatus | Exception, beside: list[RunFolder], disturbed: bool
) -> dict[str, Any]:
    """Return the answer for a job from its status, or from the exception that ended it.

    Args:
        folder: folder of the job's run.
        ending: status, or the exception, which goes to the run's log.
        beside: folders of all runs of the pack. If one of them was cancelled, the whole pack stopped, and the
            other jobs wait again.
        disturbed: whether a silent owner of before may have written into the folder meanwhile.
    """
    from harness.engine.distributed import told_by_first
    from harness.train.loop import Interrupted

    try:
        if isinstance(ending, Exception):
            raise ending
        return {"status": ending}
    except Interrupted:
        if told_by_first(is_cancelled(folder)):
            return CANCELLED
        put_off = told_by_first(any(is_cancelled(other) for other in beside))
        return {"status": RunStatus.WAITING if put_off else RunStatus.INTERRUPTED}
    except Exception as error:
        # Two writers of one checkpoint make errors of any kind, in the one that lost the run too.
        return failure(folder, error, disturbed or lease.lost_to_another(folder))


@contextlib.contextmanager
def own_run(folder: RunFolder) -> Iterator[bool]:
    """Hold the lease of a run, which rank 0 does for all ranks; raise lease.Held if it is taken.

    Yields whether a silent owner of before may still write into the folder.
    """
    from harness.engine.distributed import is_first, told_by_first

    with contextlib.ExitStack() as stack:
        is_held = disturbed = False
        if is_first():
            try:
                disturbed = stack.enter_context(lease.held(folder))
            except lease.Held:
                is_held = True
        if told_by_first(is_held):
            raise lease.Held(str(folder.root))
        yield disturbed


def ended_before(job: Job, folder: RunFolder) -> RunStatus | None:
    """Return DIVERGED if another process has trained the job to a divergence, else None.

    A job that is done needs no such check: nothing of it is left to train.
    """
    from harness.engine.distributed import told_by_first

    diverged = folder.read_state().status == RunStatus.DIVERGED
    ended = diverged and not unfinished(folder, job.spec, job.n_tokens)
    return RunStatus.DIVERGED if told_by_first(ended) else None


def failure(folder: RunFolder, error: Exception, disturbed: bool = False) -> dict[str, Any]:
    """Return the answer after an exception; write traceback and reason into the run's log and state.

    A run that another process `disturbed` is tried again.
    """
    from harness.engine.distributed import is_first

    wrong = isinstance(error, InputError)
    reason = (str(error) if wrong else f"{type(error).__name__}: {error}").split("\n")[0]
    retry = not wrong and (disturbed or may_pass(error))
    if is_first():
        # On a full disk the log cannot be written; the reply still tells the driver.
        with contextlib.suppress(OSError), open(folder.log, "a") as log:
            log.write(traceback.format_exc())
        record_failure(folder, reason, retry)
    return {"status": RunStatus.FAILED, "error": reason, "retry": retry}


def may_pass(error: Exception) -> bool:
    """Return whether another attempt may end otherwise: after a full or lost disk, or if a rank was lost."""
    from harness.engine.distributed import is_alone

    # If one of several ranks dies, the others see errors of communication of any kind.
    return is_of_disk(error) or not is_alone()


def is_of_disk(error: Exception) -> bool:
    """Return whether a disk is full or unreachable, which may pass."""
    # By its text too, because libraries wrap the error of a full disk.
    full = "No space left on device" in str(error)
    return full or (isinstance(error, OSError) and error.errno in PASSING_ERRORS)


def main() -> None:
    """Serve packs until standard input ends, or a signal asks to stop."""
    # Pinned before JAX is imported, because XLA sizes its thread pools by the cores that it may use.
    core = os.environ.get("HARNESS_CORE")
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    # A Ctrl-C may reach the whole process group. The driver alone decides, and asks by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Standard output carries answers only; prints of libraries (Gloo) go to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    numerics.settle()
    from harness.engine.distributed import COORDINATOR, initialize_from_environment, is_alone

    stop = StopFlag()
    config = WorkerConfig.from_line(sys.stdin.readline())
    try:
        initialize_from_environment()
        inputs = build_inputs(config, stop)
        attempt = None if config.origin is None else attempt_here(config.origin)
    except InputError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(WRONG_INPUT_EXIT_CODE)
    except Exception as error:
        traceback.print_exc()
        # A partner of a run with several ranks may have been lost, and then another start may succeed.
        passes = is_of_disk(error) or bool(os.environ.get(COORDINATOR))
        sys.exit(1 if passes else CANNOT_START_EXIT_CODE)
    sweep = SweepFolder(Path(config.sweep))
    for line in sys.stdin:
        pack = tuple(Job.from_dict(values) for values in json.loads(line)["jobs"])
        outcomes = run_pack(pack, sweep, inputs, config.pack, attempt)
        print(json.dumps({"outcomes": outcomes}), file=answers, flush=True)
        statuses = {outcome["status"] for outcome in outcomes if not outcome.get("cancelled")}
        # After a failure the ranks of one run may stand at different steps, so all of them start anew.
        if RunStatus.INTERRUPTED in statuses or (RunStatus.FAILED in statuses and not is_alone()):
            break


if __name__ == "__main__":
    main()
