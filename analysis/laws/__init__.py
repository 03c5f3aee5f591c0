"""Loss laws: each module defines some, `LAWS` lists them, and `saturating` makes one for each corpus.

A name may end in limits of parameters, so that a stored name says all: `chinchilla[E=1.69]` fixes E,
`joint[gamma=0.2:0.5]` bounds gamma.
"""

from __future__ import annotations

import difflib

from analysis.laws import (
    bounded,
    broken,
    chinchilla,
    data_constrained,
    joint,
    kaplan,
    overtraining,
    quadrature,
    saturating,
    tied,
)
from analysis.laws.law import Law
from analysis.laws.limited import limited, split_limits
from harness.records.errors import InputError

__all__ = ["LAWS", "Law", "axes_of", "family", "find_law", "law_names", "with_limits"]


LAWS: dict[str, Law] = {
    law.name: law
    for module in (
        bounded,
        broken,
        chinchilla,
        data_constrained,
        joint,
        kaplan,
        overtraining,
        quadrature,
        tied,
    )
    for law in module.LAWS
}


def law_names() -> list[str]:
    """Return the names of all laws except the saturating ones, in alphabetical order."""
    return sorted(LAWS)


def family(name: str) -> str:
    """Return the name of a law without the constants of its corpus, for tables and legends; limits stay."""
    base, limits = split_limits(name)
    return base.split("(")[0] + limits


def with_limits(name: str, limits: tuple[float, float] | None) -> str:
    """Return the name of a law with the constants of its corpus, `saturating(U,V)`; other names stay.

    Args:
        name: name of a law, with or without limits of parameters.
        limits: loss U of a unigram model and logarithm V of the vocabulary, nats per token; None if the table
            does not have them.

    Raises:
        InputError: the law needs limits and the table has none.
    """
    base, limited_to = split_limits(name)
    if base != saturating.FAMILY:
        return name
    if limits is None:
        raise InputError(
            "the saturating law needs the loss U of a unigram model and the vocabulary of the corpus, and "
            "this table has no column for them, or one that is empty, not positive or not the same in all "
            "rows: map columns to unigram and vocab, or name the law 'saturating(U,V)' with U and the "
            "logarithm V of the vocabulary in nats per token",
            "mapping",
            "law",
        )
    return saturating.name_of(*limits) + limited_to


def axes_of(name: str) -> str:
    """Return the columns out of n, d and c that a law depends on; raises InputError for an unknown law."""
    base = split_limits(name)[0]
    return "nd" if base == saturating.FAMILY else find_law(base).axes


def find_law(name: str) -> Law:
    """Return the law of a name.

    Args:
        name: one of `LAWS` or `saturating(U,V)`, with limits of parameters in brackets if wanted.

    Raises:
        InputError: no such law (the text lists the laws and suggests the nearest), or wrong limits.

    Examples:
        >>> find_law("chinchilla[E=1.69]").n_free
        4
    """
    name, limits = split_limits(name)
    found = LAWS.get(name) or saturating.parse(name)
    if found is not None:
        return limited(found, limits) if limits else found
    known = sorted([*LAWS, saturating.FAMILY])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise InputError(f"there is no law called {name!r}{hint}: use one of {', '.join(known)}", "law")
