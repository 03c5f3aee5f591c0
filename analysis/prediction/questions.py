"""Questions as people type them: `C=1e24,3e24` or `N=7B,D=2T`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from analysis.tables.numbers import read_number
from harness.records.errors import InputError

EXAMPLES = "C=1e24,3e24 (the best size and tokens), N=7e9,D=2e12 (one run), N=7e9, D=2e12 or L=2.1"
ALONE = {"C": "flops", "N": "n", "D": "d", "L": "loss"}  # arguments of `Predictor.best`
Question = dict[str, float]
MOST = 100  # questions of one option


def parse_questions(texts: Sequence[str]) -> list[Question]:
    """Return what was typed as questions: {"C": …}, {"N": …}, {"D": …}, {"L": …}, or N and D of a run.

    A number without a name belongs to the name before it. Several values of N and D ask for every pair.

    Raises:
        InputError: an unknown name, no positive number, or quantities that do not go together.

    >>> parse_questions(["C=1e24,3e24", "N=7B,D=2T"])
    [{'C': 1e+24}, {'C': 3e+24}, {'N': 7000000000.0, 'D': 2000000000000.0}]
    """
    return [question for text in texts for question in _questions(text)]


def _questions(text: str) -> list[Question]:
    values: dict[str, list[float]] = {}
    name = ""
    for part in text.split(","):
        before, equals, number = part.rpartition("=")
        if equals:
            name = before.strip().upper()
            if name not in ALONE or name in values:
                what = f"{before.strip()}= twice" if name in values else f"{before.strip()}="
                raise _refused(text, f"has {what}: expected one such as {EXAMPLES}")
            values[name] = []
        elif not name:
            raise _refused(text, f"has {part.strip()} without a name: type one such as {EXAMPLES}")
        found = read_number(number)
        if found is None or not 0 < found < math.inf:
            raise _refused(text, f"has {number.strip()!r}, expected a positive number such as 7e9 or 7B")
        values[name].append(found)
    if len(values) > 1 and set(values) != {"N", "D"}:
        raise _refused(text, f"has {' and '.join(values)}, of which each decides the others: type {EXAMPLES}")
    pairs = [dict(zip(values, pair, strict=True)) for pair in product(*values.values())]
    if len(pairs) > MOST:
        raise _refused(text, f"has {len(pairs)} pairs, expected {MOST} at most: ask fewer")
    return pairs


def _refused(text: str, why: str) -> InputError:
    return InputError(f"the question {text} {why}", "predict")
