"""Which pack a worker takes next: the longest first, but of the shape that it has compiled."""

from __future__ import annotations

from collections.abc import Collection

from harness.launch.interface import Handle
from harness.recipe.spec import Pack

# A pack is preferred for its shape while it costs at least this share of the most expensive one.
SAME_SHAPE_SHARE = 0.5


def shape(pack: Pack) -> object:
    """What a worker compiles for: packs of equal shape share a program."""
    return pack[0].spec.model, len(pack)


def by_cost(waiting: list[Handle]) -> list[Handle]:
    """The most expensive first, spare ones behind all others."""
    return sorted(waiting, key=lambda handle: (handle.spare, -handle.cost))


def next_pack(queue: list[Handle], last: Pack | None, elsewhere: Collection[object]) -> Handle:
    """The first of a queue `by_cost`, but where one costs nearly as much one of the shape of the `last` pack,
    or else of a shape that no other worker is compiling just now (`elsewhere`)."""
    first = queue[0]
    near = [h for h in queue if h.spare == first.spare and h.cost >= SAME_SHAPE_SHARE * first.cost]
    own = [handle for handle in near if last is not None and shape(handle.pack) == shape(last)]
    free = [handle for handle in near if shape(handle.pack) not in elsewhere]
    return (own or free or queue)[0]
