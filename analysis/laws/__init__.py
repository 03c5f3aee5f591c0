"""Loss laws. Every module of this folder that defines `LAWS` adds its laws; nothing else is to be touched."""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from analysis.laws.law import Law
from harness.records import InputError

__all__ = ["Law", "find_law", "law_names"]


def _all_laws() -> dict[str, Law]:
    """Every law of the folder by name."""
    laws: dict[str, Law] = {}
    for module in pkgutil.iter_modules(__path__):
        found = getattr(importlib.import_module(f"{__name__}.{module.name}"), "LAWS", ())
        laws |= {law.name: law for law in found}
    return laws


def law_names() -> list[str]:
    """Names of all laws, in alphabetical order."""
    return sorted(_all_laws())


def find_law(name: str) -> Law:
    """The law called `name`; raises InputError that lists the laws and suggests the nearest."""
    laws = _all_laws()
    if name in laws:
        return laws[name]
    near = difflib.get_close_matches(name, laws, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(
        f"there is no law called {name!r}{hint} Type --law with one of: {', '.join(sorted(laws))}."
    )
