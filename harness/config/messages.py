"""Error sentences for mistakes on the command line, made from the messages of Hydra and OmegaConf."""

from __future__ import annotations

import difflib
import re


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


def near(word: str, names: list[str]) -> str:
    """Return a clause that suggests the name nearest to a mistyped word; empty if none is near."""
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
