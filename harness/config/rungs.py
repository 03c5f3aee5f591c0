"""Rungs as a grid lists them: widths, or shapes among them, which become a ladder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.config.schema import Shape
from harness.config.values import check_value
from harness.records.errors import InputError

KEY = "grid.rungs"


def has_shapes(rungs: Any) -> bool:
    """Return whether a list of rungs has an entry that is more than a width."""
    return isinstance(rungs, list) and any(isinstance(entry, dict) for entry in rungs)


def check_rungs(rungs: Any, typed: str | None = None) -> None:
    """Raise InputError unless every entry of a list that has shapes is a width or a shape."""
    check_value(KEY, list[Shape], _shapes(rungs), typed)


def settle_rungs(grid: dict[str, Any], given: Iterable[str]) -> None:
    """Give a grid its rungs in one way: widths, or a ladder, also for each of its budgets.

    Args:
        grid: the grid as composed, which is changed. The widths or the ladder of its file are dropped if the
            user names rungs in the other way.
        given: keys that the user gave.

    Raises:
        InputError: the user names rungs in both ways, or a shape of the grid file does not fit.
    """
    users = {".".join(key.split(".")[:2]) for key in given}

    def names(key: str) -> bool:
        return grid.get(key) is not None and f"grid.{key}" in users

    if names("rungs") and names("ladder"):
        raise InputError(
            "grid.rungs and grid.ladder both name the rungs, and one of them was expected; leave grid.rungs "
            "out for those of the ladder, or grid.ladder for the widths"
        )
    for key, other in (("rungs", "ladder"), ("ladder", "rungs")):
        if names(key):
            grid[other] = None
    for cells in (grid, *(grid.get("budgets") or {}).values()):
        if isinstance(cells, dict) and has_shapes(cells.get("rungs")):
            check_rungs(cells["rungs"])
            cells["ladder"], cells["rungs"] = {"shapes": _shapes(cells["rungs"])}, None


def head_dim_of(grid: dict[str, Any], budget: str) -> int | None:
    """Return the width of a head that the ladder of a grid, or of its budget, asks for."""
    preset = (grid.get("budgets") or {}).get(budget) or {}
    ladder = grid.get("ladder") or (preset.get("ladder") if grid.get("rungs") is None else None)
    return (ladder or {}).get("head_dim")


def check_head_dim(head_dim: int, wanted: int | None) -> None:
    """Raise InputError if heads have another width than the ladder asks for."""
    if wanted is not None and head_dim != wanted:
        raise InputError(
            f"model.head_dim={head_dim} and grid.ladder.head_dim={wanted} both set the width of a head, and "
            "one of them was expected; leave the first out"
        )


def _shapes(rungs: list[Any]) -> list[Any]:
    return [entry if isinstance(entry, dict) else {"d_model": entry} for entry in rungs]
