"""Functions in several processes."""

from __future__ import annotations

import os

import pytest

from harness.data.text.workers import WAITING, results
from harness.records.errors import InputError


def test_few_arguments_are_drawn_ahead() -> None:
    drawn: list[int] = []

    def arguments() -> object:
        for number in range(20):
            drawn.append(number)
            yield number

    found = []
    for result in results(abs, arguments(), 2):  # type: ignore[arg-type]
        found.append(result)
        assert len(drawn) <= len(found) + 2 + WAITING + 1
    assert sorted(found) == list(range(20))


def test_a_killed_process_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"^a process of the preparation was killed"):
        list(results(os._exit, [1], 2))


def test_an_error_in_a_process_is_the_error() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(results(int, ["1", "x"], 2))
