"""Checks of the command line before Hydra composes it, because its own messages help little."""

from __future__ import annotations

from pathlib import Path

from harness.config.messages import near, unknown_key
from harness.records.errors import InputError

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
# Mappings whose keys the user chooses, so the schema does not list them.
OPEN_MAPPINGS = ("data.tasks.", "grid.budgets.", "grid.lr_scale.", "launcher.resources.", "launcher.sbatch.")


def options(group: str) -> list[str]:
    """Return the names of a config group, for example those of the grids."""
    return sorted(path.stem for path in (SWEEPS / group).glob("*.yaml"))


def check_groups(overrides: list[str]) -> None:
    """Raise InputError if no grid is chosen, or a config group has no such option."""
    chosen = dict(item.lstrip("+").split("=", 1) for item in overrides if "=" in item)
    grids = options("grid")
    if "grid" not in chosen:
        raise InputError(
            f"a grid was expected and none was given; add one of: +grid={', +grid='.join(grids)}"
        )
    if any(item.startswith("grid=") for item in overrides):
        raise InputError(f"the grid is added, not overridden; type +grid={chosen['grid']} instead of grid=…")
    for group in [path.name for path in SWEEPS.iterdir() if path.is_dir() and options(path.name)]:
        if group in chosen and chosen[group] not in options(group):
            names = options(group)
            raise InputError(
                f"{group}={chosen[group]} is not there; {group} is one of {', '.join(names)}"
                + near(chosen[group], names)
            )


def check_added(overrides: list[str], known: list[str]) -> None:
    """Raise InputError for `+key=value` with a key that is neither in the schema nor in an open mapping.

    Hydra adds such a key, but nothing would read it.
    """
    for override in overrides:
        key = override.lstrip("+").split("=", 1)[0]
        if override.startswith("+") and key not in known and not key.startswith(OPEN_MAPPINGS):
            raise InputError(unknown_key(key, override, known))
