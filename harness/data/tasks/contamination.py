"""Whether held-out problems stand in the text corpus, as they are written in task documents."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt64

from harness.data.tasks.documents import MARKOV, TEST, draw
from harness.data.tasks.families import FAMILIES
from harness.data.tasks.hashed_random import mix
from harness.data.tasks.mixture import TaskConfig

# Problems of each task and length that are looked for.
N_PROBLEMS = 1_000
# A problem is looked for by its first bytes, then as a whole.
PREFIX = 6
TABLE_BITS = 22
BYTES_AT_ONCE = 2**22


def contamination(tasks: tuple[TaskConfig, ...], texts: list[str]) -> dict[str, dict[str, int]]:
    """By task and length, how many of the `problems` looked for are `found` in the text.

    What is held out of few-shot functions is a rule, which no text could show alone.
    """
    strings = {
        f"{task.name} {length}": _test_strings(task.name, length)
        for task in tasks
        for length in task.lengths
        if task.name != MARKOV and FAMILIES[task.name].held_out(length) and not FAMILIES[task.name].shared
    }
    found = occurring({string for group in strings.values() for string in group}, texts)
    return {
        name: {"problems": len(group), "found": len(found & set(group))} for name, group in strings.items()
    }


def _test_strings(task: str, length: int) -> list[bytes]:
    index = np.arange(N_PROBLEMS)
    problems = draw(task, length, TEST, index, np.zeros_like(index), test=True)
    return [row.tobytes() for row in np.concatenate([problems.prompt, problems.answer], axis=1)]


def occurring(strings: set[bytes], texts: list[str]) -> set[bytes]:
    """Those of `strings`, each of at least PREFIX bytes, that stand somewhere in the texts."""
    if not strings:
        return set()
    by_prefix: dict[bytes, list[bytes]] = {}
    for string in strings:
        by_prefix.setdefault(string[:PREFIX], []).append(string)
    table = np.zeros(2**TABLE_BITS, bool)
    table[_slots(np.frombuffer(b"".join(by_prefix), np.uint8).reshape(-1, PREFIX).T)] = True
    data = "\0".join(texts).encode("utf-8")
    found: set[bytes] = set()
    for first in range(0, len(data), BYTES_AT_ONCE):
        codes = np.frombuffer(data[first : first + BYTES_AT_ONCE + PREFIX - 1], np.uint8)
        if len(codes) < PREFIX:
            break
        columns = [codes[i : len(codes) - PREFIX + 1 + i] for i in range(PREFIX)]
        for place in np.flatnonzero(table[_slots(np.stack(columns))]) + first:
            for string in by_prefix.get(data[place : place + PREFIX], ()):
                if data.startswith(string, place):
                    found.add(string)
    return found


def _slots(columns: np.ndarray) -> UInt64[np.ndarray, "places"]:
    """Place in the table of each column of PREFIX bytes."""
    packed = np.zeros(columns.shape[1], np.uint64)
    for row in columns:
        packed = packed << np.uint64(8) | row.astype(np.uint64)
    return mix(packed) >> np.uint64(64 - TABLE_BITS)
