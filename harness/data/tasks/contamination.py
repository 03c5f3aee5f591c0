"""Contamination: test problems that occur in the text corpus, written as in task documents."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt64

from harness.data.tasks.documents import MARKOV, TEST, draw
from harness.data.tasks.families import FAMILIES
from harness.data.tasks.mixture import TaskConfig
from harness.data.text.hashes import mix

# Problems of each task and length that are searched for.
N_PROBLEMS = 1_000
# A search compares the first bytes of a problem through a table of hashes, and the rest only after a hit.
PREFIX = 6
TABLE_BITS = 22
BYTES_AT_ONCE = 2**22


def contamination(tasks: tuple[TaskConfig, ...], texts: list[str]) -> dict[str, dict[str, int]]:
    """Count the test problems that occur in the training text.

    Families whose examples share a rule are left out: the rule is held out, and no string of text shows it
    alone. So are tasks without held-out problems.

    Args:
        tasks: the tasks of the corpus.
        texts: documents of the training text.

    Returns:
        By task and length, the number of `problems` searched for and of those `found`.
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
    """Return the first N_PROBLEMS test problems of a task and length, prompt and answer, as bytes."""
    index = np.arange(N_PROBLEMS)
    problems = draw(task, length, TEST, index, np.zeros_like(index), test=True)
    return [row.tobytes() for row in np.concatenate([problems.prompt, problems.answer], axis=1)]


def occurring(strings: set[bytes], texts: list[str]) -> set[bytes]:
    """Return the strings that occur in any of the texts.

    Args:
        strings: strings of at least PREFIX bytes, without NUL.
        texts: documents to search.
    """
    if not strings:
        return set()
    by_prefix: dict[bytes, list[bytes]] = {}
    for string in strings:
        by_prefix.setdefault(string[:PREFIX], []).append(string)
    table = np.zeros(2**TABLE_BITS, bool)
    table[_slots(np.frombuffer(b"".join(by_prefix), np.uint8).reshape(-1, PREFIX).T)] = True
    # NUL between documents, so that no match spans two.
    data = "\0".join(texts).encode("utf-8")
    found: set[bytes] = set()
    for first in range(0, len(data), BYTES_AT_ONCE):
        # Pieces overlap, so that every position is the start of a whole prefix once.
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
    """Return the table slot of every column of PREFIX bytes [PREFIX, places]."""
    packed = np.zeros(columns.shape[1], np.uint64)
    for row in columns:
        packed = packed << np.uint64(8) | row.astype(np.uint64)
    return mix(packed) >> np.uint64(64 - TABLE_BITS)
