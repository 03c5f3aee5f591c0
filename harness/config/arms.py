"""Arms of a grid: recipes that are trained on the same sizes, token counts, seeds and data, and compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.config.checks import check_choices, check_ranges, check_together
from harness.config.schema import SweepSettings
from harness.config.values import check_value, converted, kind_of, typed
from harness.records.errors import InputError, near

SECTIONS = ("model", "optim")  # whose keys an arm may set
# Keys that decide which text a run reads and is scored on: losses of arms that differ in them do not compare.
OF_DATA = ("model.seq_len",)
NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,39}")


def arm_settings(settings: SweepSettings) -> dict[str, SweepSettings]:
    """Return the settings of every arm of the grid, by name, the base arm first; empty without arms.

    Raises:
        InputError: there is one arm alone, or a name is no name. Also an arm sets a key that is unknown, has
            a wrong value, or is not one of the recipe.
    """
    arms = settings.grid.arms
    if not arms:
        return {}
    if len(arms) < 2:
        raise InputError(
            f"grid.arms={typed(arms)} has one arm, expected two or more; type for example "
            "grid.arms={base: {}, swiglu: {model.mlp: swiglu}}"
        )
    if settings.grid.lr_scale or any(cells.lr_scale for cells in settings.grid.budgets.values()):
        raise InputError(
            f"grid.arms={typed(arms)} were given with grid.lr_scale, and a grid of learning rates has no "
            "arms; type them with +grid=compare"
        )
    plain = replace(settings, grid=replace(settings.grid, arms=None))
    return {name: _of_arm(plain, name, overrides) for name, overrides in arms.items()}


def _of_arm(settings: SweepSettings, name: str, overrides: Mapping[str, Any]) -> SweepSettings:
    """Return the settings with the overrides of an arm, checked."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"grid.arms has an arm {name!r}, expected a name of letters, digits, '-', '+', '.' and '_'"
        )
    for key, value in overrides.items():
        section, _, field = key.partition(".")
        kind = kind_of(key, SweepSettings)
        if section == "data" or key in OF_DATA:
            raise InputError(
                f"arm {name} sets {key}={typed(value)} and arms must not differ in their data, since their "
                "losses do not compare; leave it out of grid.arms, and set it on the command line for all"
            )
        if section not in SECTIONS or kind is None or not field:
            known = [f"{part}.{each}" for part in SECTIONS for each in vars(getattr(settings, part))]
            raise InputError(
                f"arm {name} sets {key}, expected a key of {' or '.join(SECTIONS)}, such as model.mlp"
                f"{near(key, known)}"
            )
        check_value(f"grid.arms.{name}: {key}", kind, value)
        own = replace(getattr(settings, section), **{field: converted(kind, value)})
        settings = replace(settings, **{section: own})
    try:
        check_choices(settings)
        check_ranges(settings)
        check_together(settings)
    except InputError as error:
        raise InputError(f"arm {name}: {error}") from error
    return settings
