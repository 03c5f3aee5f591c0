"""The same function for many arguments in several processes, with few of them in memory at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import parent_process
from typing import TypeVar

from harness.records.errors import InputError
from harness.records.provenance import usable_cores

# Each process takes some 150 MB.
MAX_PROCESSES = 8
WAITING = 2  # arguments that wait for a process, besides one in each of them

T = TypeVar("T")
R = TypeVar("R")


def n_processes() -> int:
    """Return the number of processes for this machine."""
    return min(len(usable_cores()), MAX_PROCESSES)


def results(function: Callable[[T], R], arguments: Iterable[T], processes: int) -> Iterator[R]:
    """Yield the results as they come, in any order.

    Args:
        function: what to compute; it can be pickled.
        arguments: drawn one by one, as processes become free.
        processes: how many; with one, this process does it.

    Raises:
        InputError: a process was killed, as happens when memory is short.
    """
    if processes == 1:
        yield from map(function, arguments)
        return
    # Spawned, because a fork copies the locks of the caller's other threads, held or not.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_begin)
    try:
        running: set[Future[R]] = set()
        for argument in arguments:
            running.add(pool.submit(function, argument))
            if len(running) == processes + WAITING:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise InputError(
            "a process of the preparation was killed, as happens when memory is short: free some and type "
            "the same command"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Set up a process."""
    # One level of parallelism: threads of the library would compete with the other processes.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # A terminal interrupts all processes: the one that started them says so.
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End this process when the one that started it is gone: after a kill nobody else would."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
