"""Which dimension of an array lives on which axis of the device mesh: one table for all arrays.

Parameters name their dimensions where they are made (`axes=`), activations where they are constrained. On one
device every constraint is left out, so that the program is the same as without a mesh.
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
# Every axis over which sequences are split; experts are spread over devices that hold sequences of their own.
BATCH = (DATA, FSDP, EXPERT)
Axes = tuple[str | None, ...]

RULES: dict[str, str | tuple[str, ...]] = {
    "batch": BATCH,
    "embed": FSDP,  # of parameters alone: gathered where a layer uses them
    "heads": TENSOR,
    "mlp": TENSOR,
    "vocab": TENSOR,
    "expert": EXPERT,
    "group": (DATA, FSDP),  # sequences, where the experts they go to are split
    "layer": STAGE,
}

_mesh: ContextVar[Mesh | None] = ContextVar("mesh", default=None)


@contextmanager
def on(mesh: Mesh) -> Iterator[None]:
    """Apply the constraints of everything traced inside to this mesh."""
    token = _mesh.set(mesh)
    try:
        yield
    finally:
        _mesh.reset(token)


def bound(apply: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`apply` for the mesh of this moment, also where a backward pass is traced later."""
    mesh = _mesh.get()

    def there(x: Array) -> Array:
        if mesh is None:
            return apply(x)
        with on(mesh):
            return apply(x)

    return there


def n_shards(mesh: Mesh, name: str | None) -> int:
    """Number of parts into which a dimension of this name is cut."""
    rule = RULES[name] if name else ()
    parts = 1
    for axis in (rule,) if isinstance(rule, str) else rule:
        parts *= mesh.shape[axis]
    return parts


def partition_spec(mesh: Mesh, shape: tuple[int, ...], axes: Axes) -> P:
    """Mesh axes of an array; a dimension that its axes do not divide stays whole on every device."""
    names = (*axes, *(None,) * (len(shape) - len(axes)))
    return P(
        *(
            RULES[name] if name and length % n_shards(mesh, name) == 0 else None
            for name, length in zip(names, shape, strict=True)
        )
    )


def sharded() -> Mesh | None:
    """The mesh that is traced for, if it has several devices."""
    mesh = _mesh.get()
    return mesh if mesh is not None and mesh.size > 1 else None


def constrain(x: Array, *axes: str | None) -> Array:
    """Say where an activation lives; does nothing outside `on` or on one device."""
    mesh = sharded()
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, partition_spec(mesh, x.shape, axes)))


def gathered(weight: Array, axes: Axes) -> Array:
    """A parameter as a layer uses it: shards of fully sharded data parallelism put together."""
    return constrain(weight, *(None if name == "embed" else name for name in axes))
