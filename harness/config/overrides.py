"""Overrides on the command line: checked before Hydra composes them, and mistakes said in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

from harness.records.errors import InputError, near

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


def unknown_key(key: str, override: str, known: list[str]) -> str:
    """Return the sentence for an unknown key, with the nearest known one."""
    return f"unknown key {key!r} in {override!r}{near(key, known)}"


def explain(error: Exception, overrides: list[str], known: list[str]) -> str:
    """Return one sentence for a composition error.

    Args:
        error: exception of Hydra or OmegaConf.
        overrides: command line.
        known: every key of the schema.
    """
    text = str(error)
    for override in overrides:
        key = override.lstrip("+~").split("=", 1)[0]
        if key not in known and ("." in key or key in text):
            return unknown_key(key, override, known)
    # Hydra wraps the error of OmegaConf, which names the key or the piece that does not parse.
    cause = str(error.__cause__ or error)
    place = re.search(r"full_key: (\S+)", cause)
    piece = re.search(r"at input '(.*)'", cause)
    guilty = [
        item
        for item in overrides
        if item in text
        or (place and place[1].startswith(item.split("=", 1)[0] + "["))
        or (piece and piece[1] in item)
    ]
    lines = [
        line.strip() for line in cause.split("\n") if not re.match(r"\s*(See |\w+_type=|full_key)", line)
    ]
    return f"{guilty[0] if guilty else 'the configuration'} does not fit: {', '.join(filter(None, lines))}"
