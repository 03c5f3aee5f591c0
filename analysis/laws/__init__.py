"""Loss laws: a module here that defines `LAWS` adds them; `saturating` makes one for each corpus."""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from analysis.laws import saturating
from analysis.laws.law import Law
from harness.records import InputError

__all__ = ["Law", "family", "find_law", "law_names", "with_limits"]


def _all_laws() -> dict[str, Law]:
    """Every law of the folder by name."""
    laws: dict[str, Law] = {}
    for module in pkgutil.iter_modules(__path__):
        found = getattr(importlib.import_module(f"{__name__}.{module.name}"), "LAWS", ())
        laws |= {law.name: law for law in found}
    return laws


def law_names() -> list[str]:
    """Names of all laws but the saturating ones, in alphabetical order."""
    return sorted(_all_laws())


def family(name: str) -> str:
    """The name of a law without the constants of its corpus, for tables and legends."""
    return name.split("(")[0]


def with_limits(name: str, limits: tuple[float, float] | None) -> str:
    """`name`, or for `saturating` the name that carries the table's `limits` (U, V in nats per token).

    Raises:
        InputError: the law needs limits and the table has none.
    """
    if name != saturating.FAMILY:
        return name
    if limits is None:
        raise InputError(
            "the saturating law needs the loss U of a unigram model and the vocabulary of the corpus, and "
            "this table has no column for them, or one that is empty, not positive or not the same in all "
            "rows: type --map unigram=COLUMN,vocab=COLUMN, or --law 'saturating(U,V)' with U and the "
            "logarithm V of the vocabulary in nats per token"
        )
    return saturating.name_of(*limits)


def find_law(name: str) -> Law:
    """The law called `name`; raises InputError that lists the laws and suggests the nearest."""
    laws = _all_laws()
    found = laws.get(name) or saturating.parse(name)
    if found is not None:
        return found
    known = sorted([*laws, saturating.FAMILY])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise InputError(f"there is no law called {name!r}{hint} Type --law with one of: {', '.join(known)}.")
