"""Ray cluster of a sweep: connection, checks, and the number of runs that fit at a time."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.records.errors import InputError
from harness.records.provenance import usable_cores

if TYPE_CHECKING:
    from harness.config.schema import LauncherSettings

CONNECT_SECONDS = 5.0
# By itself Ray tries for more than a minute if some other program listens at the address.
ANSWER_SECONDS = 12.0
# With 0 a new cluster listens on loopback alone, as Ray does by itself on macOS and Windows.
REACHABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
OBJECT_STORE_BYTES = 100 << 20
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
TRY = f"import ray, sys; print(flush=True); ray.init(address=sys.argv[1], **{QUIET})"


def check_request(settings: LauncherSettings) -> None:
    """Raise InputError for settings that no Ray cluster can serve."""
    if settings.detach:
        raise InputError(
            "launcher.detach=true is for launcher=slurm; to leave a sweep alone on a Ray cluster let the "
            "cluster run the command: ray job submit --no-wait -- "
            'bash -c "cd $PWD && python -m harness.sweep ..."'
        )
    for name, amount in settings.resources.items():
        if amount <= 0:
            raise InputError(
                f"launcher.resources.{name}={amount:g} is out of range: above 0 was expected; "
                "leave it out where runs need none"
            )
    if settings.address not in (None, "auto"):
        _host_and_port(settings.address)


def check_ray(settings: LauncherSettings) -> None:
    """Connect to the cluster; raise InputError if it does not answer or has no room for a run."""
    if importlib.util.find_spec("ray") is None:
        raise InputError("launcher=ray needs Ray, which is not installed; type uv sync --extra ray")
    connect(settings.address)
    if settings.n_workers is None and n_ray_workers(settings) == 0:
        raise InputError(
            f"launcher=ray needs {settings.nodes} node(s) with {_spoken(needs(settings))} for a run, and the "
            f"nodes of the cluster have {'; '.join(map(_spoken, _nodes())) or 'nothing'}; ask for less, or "
            "give launcher.n_workers where nodes are added on demand"
        )


def connect(address: str | None) -> None:
    """Connect this process to the cluster at an address, or to a new one on this machine.

    Args:
        address: host:port or `auto`; None starts a cluster on this machine.

    Raises:
        InputError: no Ray answers within CONNECT_SECONDS + ANSWER_SECONDS.
    """
    # Ray would send usage statistics; a sweep sends nothing unless the user says so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under `uv run` Ray would copy the folder with all results and install it anew for every worker.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    probe = None if address is None else _probe(address)
    if address is None:
        # A cluster of this machine needs no other, and its ports would be open to the whole network. Ray
        # reads the variable when it is imported.
        os.environ.setdefault(REACHABLE, "0")
    import ray

    if probe is not None:
        _expect_answer(probe, str(address))
    if ray.is_initialized():
        return
    if address is None:
        ray.init(
            address="local",
            num_cpus=len(usable_cores()),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **QUIET,
        )
    else:
        ray.init(address=address, **QUIET)


def needs(settings: LauncherSettings) -> dict[str, float]:
    """Return the resources that each process of a run asks of its node, by Ray's names."""
    found = {"CPU": float(settings.cpus), "GPU": float(settings.gpus)} | settings.resources
    return {name: amount for name, amount in found.items() if amount}


def n_ray_workers(settings: LauncherSettings) -> int:
    """Return the number of runs that the connected cluster trains at a time."""
    if settings.n_workers is not None:
        return settings.n_workers
    return room(_nodes(), needs(settings), settings.nodes)


def room(nodes: list[dict[str, float]], need: Mapping[str, float], n_processes: int) -> int:
    """Return the number of runs that fit on the nodes at a time.

    Args:
        nodes: resources of each node.
        need: resources of each process.
        n_processes: processes of a run, each on a node of its own (gang scheduling).
    """
    places = [int(min(node.get(name, 0.0) / amount for name, amount in need.items())) for node in nodes]
    n_runs = sum(places) // n_processes
    # No two processes of a run share a node. So n runs can use at most n places of each node.
    while n_runs and sum(min(n, n_runs) for n in places) < n_runs * n_processes:
        n_runs -= 1
    return n_runs


def _nodes() -> list[dict[str, float]]:
    """Return the resources of each live node."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _spoken(resources: Mapping[str, float]) -> str:
    """Return cores, devices and custom resources as text, without Ray's entries of memory and addresses."""
    kept = {n: a for n, a in resources.items() if ":" not in n and not n.endswith("memory")}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(kept.items())) or "no cores"


def _probe(address: str) -> subprocess.Popen[str]:
    """Begin to connect in a process of its own, because `ray.init` cannot be interrupted."""
    if address != "auto":
        try:
            socket.create_connection(_host_and_port(address), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_answer(address, str(error)) from None
    return subprocess.Popen(
        [sys.executable, "-c", TRY, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _host_and_port(address: str) -> tuple[str, int]:
    """Return the two parts of an address; raise InputError if it has others."""
    found = re.fullmatch(r"([^\s:/]+):(\d{1,5})", address)
    if found is None:
        raise InputError(
            f"launcher.address={address} is no address of a Ray cluster; type auto or HOST:PORT, "
            "such as the one that ray start --head printed, or null for this machine alone"
        )
    return found[1], int(found[2])


def _expect_answer(probe: subprocess.Popen[str], address: str) -> None:
    """Wait for the probe to connect; raise InputError if it fails or takes too long."""
    assert probe.stdout is not None
    # The probe prints this line once Ray is imported, which takes long on a busy machine and does not count.
    probe.stdout.readline()
    try:
        _, errors = probe.communicate(timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        raise _no_answer(address, f"no answer within {ANSWER_SECONDS:g} s") from None
    if probe.returncode:
        said = [line.strip() for line in errors.splitlines() if line.strip()]
        raise _no_answer(address, said[-1] if said else f"exit code {probe.returncode}")


def _no_answer(address: str, why: str) -> InputError:
    """Return the error for an address at which no Ray cluster answers."""
    return InputError(
        f"no Ray cluster could be reached at launcher.address={address} ({why}); start the command on a node "
        "of a running cluster with the same versions of Python and Ray, or give launcher.address=null for "
        "this machine alone"
    )
