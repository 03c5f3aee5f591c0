"""Order of the queue: the most expensive pack first, unless a worker can reuse its compiled program.

Long packs first keep all workers busy until the end. A worker that takes another shape must compile first.
So it prefers its own shape if that pack costs nearly as much as the first of the queue.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.launch.interface import Handle
from harness.recipe.spec import Pack

# A pack may overtake the first of the queue if it costs at least this share of the first.
SAME_SHAPE_SHARE = 0.5


def shape(pack: Pack) -> object:
    """Return the key of the compiled program: packs of equal shape share it.

    The key is the model and the number of lanes. Seeds and learning rates are inputs of the program.
    """
    return pack[0].spec.model, len(pack)


def by_cost(waiting: list[Handle]) -> list[Handle]:
    """Return the queue in its order: the most expensive pack first, spare packs behind all others."""
    return sorted(waiting, key=lambda handle: (handle.spare, -handle.cost))


def next_pack(queue: list[Handle], last: Pack | None, elsewhere: Collection[object]) -> Handle:
    """Choose the pack that an idle worker trains next.

    Candidates are the packs that cost at least SAME_SHAPE_SHARE of the first. Among them, the worker prefers
    its own shape, then a shape that no other worker has; otherwise it takes the first of the queue.

    Args:
        queue: waiting packs in the order of `by_cost`; at least one.
        last: pack that the worker trained last; None if it is new.
        elsewhere: shapes that the other workers train now.
    """
    first, free = queue[0], None
    own = None if last is None else shape(last)
    for handle in queue:
        if handle.spare != first.spare or handle.cost < SAME_SHAPE_SHARE * first.cost:
            break
        found = shape(handle.pack)
        # The search ends here: a long queue is not walked through for every pack.
        if found == own:
            return handle
        # Two workers that compile one shape at the same time would both miss the compilation cache.
        if free is None and found not in elsewhere:
            free = handle
            if own is None:
                break
    return free or first
