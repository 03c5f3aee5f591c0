"""Worker process on this machine, and its end of the protocol of harness.launch.worker."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.launch.interface import Handle
from harness.launch.local.places import Seat, worker_environment
from harness.launch.worker import CANNOT_START_EXIT_CODE, WorkerConfig
from harness.recipe.spec import Pack
from harness.records.errors import WRONG_INPUT_EXIT_CODE
from harness.records.files import write_atomic
from harness.records.paths import programs_folder

ERROR_LINES = 1000
WORKER_COMMAND = (sys.executable, "-m", "harness.launch.worker")


class WorkerProcess:
    """Worker process with the pack that it has in hand.

    Args:
        config: settings of the worker, sent as its first line.
        seat: place of the worker.
        n_devices: virtual devices on CPU.
        changed: set whenever the worker answers or ends.
        command: command line of the worker.
    """

    def __init__(
        self,
        config: WorkerConfig,
        seat: Seat,
        n_devices: int,
        changed: threading.Event,
        command: Sequence[str],
    ):
        self.seat = seat
        self.errors: deque[str] = deque(maxlen=ERROR_LINES)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Its libraries may write anything, and an unreadable byte must not end the thread that reads.
            errors="replace",
            env=worker_environment(seat, n_devices),
            # A process group of its own: a Ctrl-C in the terminal then reaches the driver alone, which asks
            # the workers to save.
            start_new_session=True,
        )
        self._changed = changed
        self._programs = programs_folder(Path(config.cache_dir))
        self._replies: queue.Queue[list[dict[str, Any]]] = queue.Queue()
        # Threads, because a worker that nobody reads blocks as soon as a pipe is full.
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._answers, self._errors)]
        for reader in self._readers:
            reader.start()
        self.handle: Handle | None = None
        self.last: Pack | None = None
        self.n_packs = 0
        self._given_at = 0.0
        self._send(config.to_line())

    def give(self, handle: Handle) -> None:
        """Send a pack to the worker."""
        self.n_packs += 1
        self._given_at = time.monotonic()
        self.handle, self.last = handle, handle.pack
        self._send(json.dumps({"jobs": [job.to_dict() for job in handle.pack]}))

    def reply(self) -> list[dict[str, Any]] | None:
        """Return the answer to the pack in hand; None if there is none yet."""
        with contextlib.suppress(queue.Empty):
            return self._replies.get_nowait()
        return None

    def has_ended(self) -> bool:
        """Return whether the process has ended and all its output was read."""
        return self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers)

    def in_hand(self) -> float:
        """Return the seconds since the pack was sent."""
        return time.monotonic() - self._given_at

    def close(self) -> None:
        """Close the worker's standard input, so that it ends after the pack in hand."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def is_hopeless(self) -> bool:
        """Return whether the ended process could not work with its settings, as no other worker could."""
        return self.process.returncode in (WRONG_INPUT_EXIT_CODE, CANNOT_START_EXIT_CODE)

    def ending(self, log: Path) -> str:
        """Return why the worker ended, in one line; what it wrote on standard error goes into `log`."""
        code = self.process.poll()
        if code == -signal.SIGKILL:
            # The kernel sends it when memory runs out. Earlier lines of standard error are unrelated.
            return "worker ended with signal 9 (out of memory?)"
        last = next((line for line in reversed(self.errors) if line.strip()), "")
        if code == WRONG_INPUT_EXIT_CODE:
            return last
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        said = f"worker ended with {how}{': ' + last if last else ''}{self._kept(log)}"
        # A compiled program of another processor or driver ends a worker as soon as it runs.
        early = how.startswith("signal") and self.n_packs <= 1
        return f"{said}; if that happens again, delete {self._programs}" if early else said

    def _kept(self, log: Path) -> str:
        """Write the worker's last lines into a file of the folder `log`; return a clause that names it."""
        path = log / f"worker-{socket.gethostname()}-{self.process.pid}.txt"
        if not self.errors:
            return ""
        try:
            write_atomic(path, "\n".join(self.errors) + "\n")
        except OSError:  # The disk may be the reason why it ended.
            return ""
        return f"; its output is in {log.name}/{path.name} of the results folder"

    def _send(self, line: str) -> None:
        """Write one line to the worker."""
        assert self.process.stdin is not None
        # A dead worker breaks the pipe; `has_ended` notices it by the exit code.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def _answers(self) -> None:
        """Read answers until the worker closes its standard output."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._replies.put(json.loads(line)["outcomes"])
                self._changed.set()
        self.process.wait()
        self._changed.set()

    def _errors(self) -> None:
        """Keep the last ERROR_LINES lines of standard error."""
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.errors.append(line.rstrip())
