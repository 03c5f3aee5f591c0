"""Recipe of a results folder: settings that all its runs share, and the check that no others are mixed in."""

from __future__ import annotations

from typing import Any

from harness.config.settings import SweepSettings
from harness.recipe.run_id import recipe_dict
from harness.recipe.spec import RECIPE_VERSION, DataSpec
from harness.records.errors import InputError
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep


def recipe_of(settings: SweepSettings, data: DataSpec) -> dict[str, Any]:
    """Return the settings that all runs of a results folder must share, by dotted key."""
    sections = {
        "model": recipe_dict(settings.model),
        "optim": recipe_dict(settings.optim),
        "data": recipe_dict(data),
    }
    flat = {
        f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()
    }
    return flat | {"grid.log_interval": settings.grid.log_interval, "recipe_version": RECIPE_VERSION}


def check_recipe(folder: SweepFolder, recipe: dict[str, Any]) -> None:
    """Raise InputError if the folder holds runs of another recipe, because their losses do not compare."""
    if not folder.runs.exists() or not folder.sweep.exists():
        return
    before = read_sweep(folder.sweep).recipe
    for key in sorted(before.keys() | recipe.keys()):
        if before.get(key) != recipe.get(key):
            raise InputError(
                f"{folder.root} holds runs made with {key}={before.get(key)} and this sweep has "
                f"{key}={recipe.get(key)}; choose another folder with results_dir=DIR or delete this one"
            )
