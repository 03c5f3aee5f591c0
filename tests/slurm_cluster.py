"""A real Slurm on this machine's loopback, without systemd, cgroups or a database: for root, from Debian's
packages slurmctld, slurmd, slurm-client and munge.

Two nodes of one core each are simulated by two slurmd. Jobs of the partition `high` preempt those of `low`,
which are put back into the queue.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
N_NODES = 2
PORTS = range(7000, 10000)
N_STARTS = 3
START_SECONDS = 60
CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=5
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=200000,bf_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/spool/%n
ReturnToService=2
JobRequeue=1
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
{nodes}
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why no cluster can be started here, or None."""
    missing = [
        name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install slurmctld slurmd slurm-client munge)"
    return None if os.geteuid() == 0 else "starting a Slurm takes root"


def free_port() -> int:
    """A port below those that the system gives to outgoing connections and Ray to its workers.

    Who asked binds it only later: in the meantime nobody else may be given it.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def start_munge(folder: Path) -> None:
    """A munge of our own, which leaves a system's alone."""
    for name in ("state", "log", "spool", "munge", "run"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "munge").chmod(0o700)
    (folder / "run").chmod(0o755)
    run = folder / "run"
    subprocess.run(
        [
            "munged", "--force", f"--key-file={key}", f"--socket={run}/munge.sock",
            f"--pid-file={run}/munged.pid", f"--log-file={folder}/log/munged.log",
            f"--seed-file={folder}/munge/seed",
        ],
        check=True,
    )  # fmt: skip


def write_config(folder: Path) -> Path:
    host = socket.gethostname().split(".")[0]
    nodes = "\n".join(
        f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 RealMemory=1000"
        for i in range(1, N_NODES + 1)
    )
    path = folder / "slurm.conf"
    path.write_text(CONFIG.format(host=host, port=free_port(), folder=folder, nodes=nodes))
    return path


def idle_nodes() -> int:
    done = subprocess.run(
        ["sinfo", "-h", "-N", "-p", "low", "-t", "idle", "-o", "%N"], capture_output=True, text=True
    )
    return len(set(done.stdout.split()))


def squeue(*arguments: str) -> str:
    done = subprocess.run(["squeue", "-h", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """A running cluster that the commands of Slurm find; ended with all of its jobs."""
    before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
    os.environ["PATH"] += ":/usr/sbin"
    try:
        running = start_until_it_runs(folder)
        try:
            yield
            empty_queue()
        finally:
            stop(running)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def start_until_it_runs(parent: Path) -> Path:
    """The folder of the first cluster whose nodes come up.

    A port may be taken by another process between its choice and the daemon's start, so a start is repeated
    with other ports. The last failure shows what the daemons wrote.
    """
    said = ""
    for attempt in range(N_STARTS):
        folder = parent / str(attempt)
        try:
            start(folder)
            return folder
        except (AssertionError, subprocess.CalledProcessError):
            said = logs(folder)
            stop(folder)
    raise AssertionError(f"the nodes did not come up\n{said}")


def start(folder: Path) -> None:
    start_munge(folder)
    config = write_config(folder)
    os.environ["SLURM_CONF"] = str(config)
    subprocess.run(["slurmctld", "-c", "-f", config], check=True)
    for i in range(1, N_NODES + 1):
        subprocess.run(["slurmd", "-N", f"n{i}", "-f", config], check=True)
    wait_until(lambda: idle_nodes() == N_NODES, START_SECONDS, "the nodes did not come up")


def logs(folder: Path) -> str:
    """What Slurm says of its nodes, and the last lines of each daemon."""
    nodes = subprocess.run(["scontrol", "show", "nodes"], capture_output=True, text=True)
    tails = [
        f"{path.name}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
        for path in sorted((folder / "log").glob("*.log"))
    ]
    return "\n\n".join([nodes.stdout + nodes.stderr, *tails])


def empty_queue() -> None:
    """Cancel all jobs and wait for the nodes to be idle."""
    subprocess.run(["scancel", "--me"], check=True)
    wait_until(lambda: not squeue() and idle_nodes() == N_NODES, 60, "jobs that do not end")


def stop(folder: Path) -> None:
    """End the daemons by the numbers that they wrote down."""
    for path in sorted((folder / "run").glob("*.pid"), key=lambda path: path.name == "munged.pid"):
        try:
            os.kill(int(path.read_text()), signal.SIGTERM)
        except (ValueError, ProcessLookupError):
            continue
