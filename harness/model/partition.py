"""Sharding rules: one table from names of array dimensions to axes of the device mesh.

Parameters name their dimensions at creation (`axes=`), activations at a call of `constrain`. On one device
every constraint is left out, so that the program is the same as without a mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

DATA, FSDP, EXPERT, STAGE, TENSOR = AXES = ("data", "fsdp", "expert", "stage", "tensor")
# The axes that split the batch. The expert axis is one of them: its devices hold different experts and
# different sequences, and tokens travel between them by all-to-all.
BATCH = (DATA, FSDP, EXPERT)
Axes = tuple[str | None, ...]

RULES: dict[str, str | tuple[str, ...]] = {
    "batch": BATCH,
    "embed": FSDP,  # of parameters only; `gathered` undoes it before a layer uses them
    "heads": TENSOR,
    "mlp": TENSOR,
    "vocab": TENSOR,
    "expert": EXPERT,
    "group": (DATA, FSDP),  # sequences of arrays that EXPERT splits by experts already
    "layer": STAGE,
}

# A context variable and not an argument, because constraints sit deep inside modules. It is read while JAX
# traces, so it must be set in the traced function, not around the compiled call.
_mesh: ContextVar[Mesh | None] = ContextVar("mesh", default=None)


@contextmanager
def on(mesh: Mesh) -> Iterator[None]:
    """Trace the body for this mesh: `constrain` and `gathered` refer to it."""
    token = _mesh.set(mesh)
    try:
        yield
    finally:
        _mesh.reset(token)


def bound(apply: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Bind `apply` to the current mesh.

    JAX traces a backward pass after the `on` block of its forward pass has ended; constraints in it would
    find no mesh.
    """
    mesh = _mesh.get()

    def there(x: Array) -> Array:
        if mesh is None:
            return apply(x)
        with on(mesh):
            return apply(x)

    return there


def n_shards(mesh: Mesh, name: str | None) -> int:
    """Return the number of shards of a dimension with this name; 1 for None."""
    rule = RULES[name] if name else ()
    parts = 1
    for axis in (rule,) if isinstance(rule, str) else rule:
        parts *= mesh.shape[axis]
    return parts


def partition_spec(mesh: Mesh, shape: tuple[int, ...], axes: Axes) -> P:
    """Return the mesh axes of each dimension of an array.

    Args:
        mesh: The device mesh.
        shape: Shape of the array.
        axes: Names of its leading dimensions (keys of RULES, or None); the others are not split.

    A dimension that the shards do not divide stays whole on every device.
    """
    names = (*axes, *(None,) * (len(shape) - len(axes)))
    return P(
        *(
            RULES[name] if name and length % n_shards(mesh, name) == 0 else None
            for name, length in zip(names, shape, strict=True)
        )
    )


def sharded() -> Mesh | None:
    """Return the current mesh if it has several devices, else None."""
    mesh = _mesh.get()
    return mesh if mesh is not None and mesh.size > 1 else None


def constrain(x: Array, *axes: str | None) -> Array:
    """Constrain the sharding of an activation by the names of its leading dimensions.

    Does nothing outside `on` or on one device. Without constraints XLA propagates the shardings of parameters
    into activations, and may replicate a batch that is split.
    """
    mesh = sharded()
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, partition_spec(mesh, x.shape, axes)))


def gathered(weight: Array, axes: Axes) -> Array:
    """Return a parameter gathered over `fsdp`; the other mesh axes still split it.

    XLA inserts an all-gather for it, and a reduce-scatter or all-reduce for its gradient.
    """
    return constrain(weight, *(None if name == "embed" else name for name in axes))
