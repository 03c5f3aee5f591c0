"""Names for the types of arrays that the analysis passes around, and the rows of each label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]  # numbers
Mask = NDArray[np.bool_]  # one truth value a row
Codes = NDArray[np.int64]  # labels as integers from 0
Index = NDArray[np.intp]  # positions of rows
Interval = tuple[float, float]  # lower and upper end


def groups(codes: Array | Codes) -> list[Index]:
    """Return the positions of each value of `codes` [rows], by ascending value; one sort, however many."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
