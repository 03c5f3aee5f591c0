"""Which pack a worker takes next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.grid.cells import jobs
from harness.launch import queue
from harness.launch.interface import Handle
from harness.launch.queue import by_cost, next_pack, shape
from harness.recipe.spec import Pack
from tests.small_sweeps import small_cells


def handle(width: int, seed: int, cost: float, spare: bool = False) -> Handle:
    """A pack of one run that costs so much."""
    (job,) = jobs(small_cells(f"grid.rungs=[{width}]", f"grid.seeds=[{seed}]"))
    return Handle((job,), cost, spare, lambda: None)


LARGE, SMALL, OTHER = handle(96, 0, 9.0), handle(16, 0, 1.0), handle(16, 1, 1.0)


def test_the_most_expensive_comes_first_and_spare_ones_last() -> None:
    spare = handle(96, 1, 20.0, spare=True)
    assert by_cost([SMALL, spare, LARGE]) == [LARGE, SMALL, spare]


def test_workers_keep_to_a_compiled_shape_while_it_is_worth_it() -> None:
    assert next_pack([LARGE, SMALL], None, []) is LARGE
    assert next_pack([LARGE, SMALL], OTHER.pack, []) is LARGE
    near = handle(16, 0, 6.0)
    assert next_pack([LARGE, near], OTHER.pack, []) is near
    assert next_pack([LARGE, handle(16, 0, 6.0, spare=True)], OTHER.pack, []) is LARGE


def test_two_workers_do_not_compile_one_shape() -> None:
    near = handle(16, 0, 6.0)
    assert next_pack([LARGE, near], None, [shape(LARGE.pack)]) is near
    assert next_pack([LARGE, SMALL], None, [shape(LARGE.pack)]) is LARGE


def test_a_long_queue_is_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def counted(pack: Pack) -> object:
        asked.append(pack)
        return shape(pack)

    monkeypatch.setattr(queue, "shape", counted)
    waiting = [replace(SMALL, cost=1.0) for _ in range(1_000)]
    assert next_pack(waiting, OTHER.pack, [shape(SMALL.pack)]) is waiting[0]
    assert next_pack(waiting, None, []) is waiting[0]
    assert len(asked) == 3
