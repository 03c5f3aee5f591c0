"""Shapes of curves along a ladder of sizes: a logistic step, a bend, an exponential, a ramp."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array

PER_SCALE = 2 * np.log(9.0)  # 10–90 % width of a logistic over its scale
TINY = 1e-6  # length of a shape, beside its own before projection, below which nothing of it is left


def logistic(x: Array, centre: Array | float, width: Array | float) -> Array:
    """Return a step from 0 to 1 around `centre` with a 10–90 % width of `width` decades.

    >>> logistic(np.array([-0.2, 0.0, 0.2]), 0.0, 0.4).round(2).tolist()
    [0.1, 0.5, 0.9]
    """
    return np.asarray(1 / (1 + np.exp(-np.clip((x - centre) * PER_SCALE / width, -500, 500))))


def bend(x: Array, at: Array | float, softness: Array | float) -> Array:
    """Return 0 long before `at` and x − at long after it, with a bend over about `softness` decades.

    ln(E + A·10^(−αx)) is such a bend, with a softness of 1/(α·ln 10).

    >>> bend(np.array([-1.0, 0.0, 1.0]), 0.0, 0.01).round(2).tolist()
    [0.0, 0.01, 1.0]
    """
    return np.asarray(softness * np.logaddexp(0, (x - at) / softness))


def ramp(x: Array, start: float, end: float) -> Array:
    """Return 0 up to `start`, 1 from `end` on, and a straight line between.

    >>> ramp(np.arange(5.0), 1.0, 3.0).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    return np.clip((x - start) / (end - start), 0, 1)


def centred(x: Array) -> Array:
    """Return x on a scale of −1 at the first size to 1 at the last.

    >>> centred(np.array([2.0, 3.0, 6.0])).tolist()
    [-1.0, -0.5, 1.0]
    """
    return np.asarray(2 * (x - x[0]) / (x[-1] - x[0]) - 1)


def directions(shapes: Array, q: Array) -> tuple[Array, Array]:
    """Return the parts of shapes orthogonal to a basis as unit vectors, and the lengths of these parts.

    A shape that the basis already spans has no direction of its own: its vector is 0 and its length ∞.
    By the theorem of Frisch, Waugh and Lovell one projection then fits every shape to every curve.

    Args:
        shapes: scaled by the square roots of the weights [..., sizes].
        q: orthonormal columns [sizes, columns].

    Returns:
        Unit vectors [..., sizes] and lengths [...].
    """
    free = shapes - shapes @ q @ q.T
    length = np.linalg.norm(free, axis=-1)
    usable = length > TINY * np.linalg.norm(shapes, axis=-1)
    length = np.where(usable, length, np.inf)
    return np.where(usable[..., None], free / np.where(usable, length, 1.0)[..., None], 0.0), length
