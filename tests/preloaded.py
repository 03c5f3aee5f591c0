"""Processes of Python that begin with everything imported: forks of a server, for a tenth of a second.

An ordinary process that trains first imports JAX and this repository, for 1.5 s. `Popen` stands for
`subprocess.Popen`. It forks for the commands `python -m MODULE` and `python -c CODE`, and starts other
processes as usual. Forks are children of the process that asks: they have a number of their own, end by
signals, and are waited for. Processes that a fork starts are forks too.

    python -m tests.preloaded SOCKET    the server, of one process of pytest
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

from tests import ROOT

# What processes of tests import, directly or late.
MODULES = (
    "harness.sweep.__main__", "harness.launch.worker", "harness.train.pack", "harness.evaluate.tasks",
    "harness.weights.kept", "harness.weights.sampling", "analysis.study.study", "analysis.forecast.seal",
)  # fmt: skip
# Variables that Python, NumPy and JAX read when they start or are imported.
READ_EARLY = ("PYTHON", "JAX_", "OMP_", "OPENBLAS_")
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
PID_BYTES = 8


def read_early(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that a fork cannot have otherwise than its server."""
    return {name: value for name, value in environment.items() if name.startswith(READ_EARLY)}


# Later a test may have changed its own.
ENVIRONMENT = dict(os.environ)

# Parameters of `subprocess.Popen._execute_child` behind the command, in this version of Python.
VERSION = (3, 11)
PARAMETERS = (
    "executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env", "startupinfo", "creationflags",
    "shell", "p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite", "restore_signals", "gid",
    "gids", "uid", "umask", "start_new_session",
)  # fmt: skip
# macOS has no subreapers, and other versions of Python have other `PARAMETERS`.
HAS_FORKS = sys.platform == "linux" and sys.version_info[:2] == VERSION
start_from_scratch = subprocess.Popen


class Popen(subprocess.Popen[str]):
    """A process, forked if that gives the same as a start from scratch."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        given = dict(zip(PARAMETERS, rest, strict=False))
        environment = dict(os.environ if given["env"] is None else given["env"])
        if not can_fork(args, environment):
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        streams = [given["p2cread"], given["c2pwrite"], given["errwrite"]]
        streams = [own if given == -1 else given for own, given in enumerate(streams)]
        job = {
            "command": list(args[1:]),
            "cwd": os.fspath(given["cwd"] or os.getcwd()),
            "environment": environment,
            "new_session": given["start_new_session"],
        }
        self.pid = fork_here(job, streams) if is_fork else server().fork(job, streams)
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))  # type: ignore[attr-defined]


def run(command: Sequence[str], **named: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` with such a process."""
    with mock.patch.object(subprocess, "Popen", Popen):
        return subprocess.run(command, **named)


def preload(*names: str) -> None:
    """Let later forks begin with these modules too, of which only one module of tests has need."""
    if HAS_FORKS:
        server().load(names)


# Whether this process is a fork of a server. It then forks by itself.
is_fork = False


def can_fork(command: Any, environment: Mapping[str, str]) -> bool:
    """Whether a fork gives the same as a start from scratch."""
    if not HAS_FORKS:
        return False
    python = not isinstance(command, str) and command[0] == sys.executable and command[1] in ("-m", "-c")
    return python and read_early(environment) == read_early(ENVIRONMENT)


class Server:
    """The server of this process of pytest, which has started JAX and must not fork itself."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        self._process = start_from_scratch(
            [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())],
            cwd=ROOT,
            env=ENVIRONMENT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self.close)

    def close(self) -> None:
        """End the server; its forks live on."""
        self._requests.close()
        self._process.kill()
        self._process.wait()

    def fork(self, job: dict[str, Any], streams: list[int]) -> int:
        """Fork, and return the number of the new child of this process."""
        prctl = ctypes.CDLL(None).prctl
        # The server's child ends at once, and the kernel gives its own child to the next subreaper above.
        prctl(SUBREAPER, 1, 0, 0, 0)
        try:
            return self._ask(job, streams)
        finally:
            prctl(SUBREAPER, 0, 0, 0, 0)

    def load(self, names: Sequence[str]) -> None:
        """Let later forks begin with these modules too."""
        self._ask({"modules": list(names)}, [0])

    def _ask(self, request: dict[str, Any], streams: list[int]) -> int:
        """Send a request with open files, and return the answer."""
        said = json.dumps(request).encode()
        socket.send_fds(self._requests, [len(said).to_bytes(PID_BYTES)], streams)
        self._requests.sendall(said)
        answer = received(self._requests, PID_BYTES)
        assert answer, "the server of processes has ended"
        return int.from_bytes(answer)


@functools.cache
def server() -> Server:
    """The server; it ends with this process."""
    return Server()


def received(connection: socket.socket, n_bytes: int) -> bytes:
    """So many bytes; none if the other side has ended."""
    found = b""
    while len(found) < n_bytes:
        part = connection.recv(n_bytes - len(found))
        if not part:
            return b""
        found += part
    return found


def serve(requests: socket.socket) -> None:
    """Fork at each request, until the process that asks has ended."""
    import_all(MODULES)
    # As in conftest.py: no test cuts the power.
    os.fsync = lambda _: None
    while True:
        head, streams, *_ = socket.recv_fds(requests, PID_BYTES, 3)
        if not head:
            return
        job = json.loads(received(requests, int.from_bytes(head)))
        if "modules" in job:
            import_all(job["modules"])
            requests.sendall((0).to_bytes(PID_BYTES))
            for descriptor in streams:
                os.close(descriptor)
            continue
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            os.write(writing, fork_here(job, streams, orphan=True).to_bytes(PID_BYTES))
            os._exit(0)
        os.waitpid(between, 0)
        requests.sendall(os.read(reading, PID_BYTES))
        for descriptor in (reading, writing, *streams):
            os.close(descriptor)


def import_all(names: Sequence[str]) -> None:
    """Import modules, about which forks need no longer think."""
    for name in names:
        importlib.import_module(name)
    # Forks need not look for garbage among modules, nor copy the memory in which that is noted.
    gc.freeze()


def fork_here(job: dict[str, Any], streams: list[int], orphan: bool = False) -> int:
    """Fork this process, and return the child's number; the child runs the command and ends.

    As an `orphan` it begins when this process has ended: a worker takes another parent than at its start for
    the end of its driver.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    here = os.getpid()
    child = os.fork()
    if child:
        return child
    while orphan and os.getppid() == here:
        time.sleep(0.001)
    code = 1
    try:
        begin(job, streams)
        code = finished(job["command"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def begin(job: dict[str, Any], streams: list[int]) -> None:
    """Give this fork what a process that is started has: streams, signals, folder and environment."""
    global is_fork
    is_fork = True
    # Away from 0, 1 and 2 first, since a stream may be another's.
    kept = [os.dup(stream) for stream in streams]
    for number, stream in enumerate(kept):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in enumerate("rww"))
    sys.stderr.reconfigure(line_buffering=True, errors="backslashreplace")
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    if job["new_session"]:
        os.setsid()
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environment"])
    subprocess.Popen = Popen  # type: ignore[misc]


def finished(command: list[str]) -> int:
    """Run a command as Python does, and return its exit code."""
    try:
        run_as_main(*command)
        code: Any = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    # As at the end of an interpreter: JAX takes its leave of the other processes of a run.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code if isinstance(code, int) else int(code is not None)


def run_as_main(option: str, what: str, *arguments: str) -> None:
    """Run a module (`-m`) or code (`-c`) as `__main__`."""
    sys.argv = [option if option == "-c" else what, *arguments]
    if option == "-m":
        for name in (what, f"{what}.__main__"):
            # It is run from its file, as if nobody had imported it.
            if name == f"{what}.__main__" or not hasattr(sys.modules.get(name), "__path__"):
                sys.modules.pop(name, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))


if __name__ == "__main__":
    # The forks import this module by its name.
    from tests.preloaded import serve as serve_by_name

    serve_by_name(socket.socket(fileno=int(sys.argv[1])))
