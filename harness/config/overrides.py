"""Overrides on the command line: read and checked one by one, and mistakes said in one sentence.

Hydra's grammar reads values, as in `grid.extra=[{d_model: 16, n_tokens: [65536], seeds: [1]}]`. Paths are
taken as they were typed, and so is text that the grammar cannot read.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from harness.config.rungs import KEY as RUNGS
from harness.config.rungs import check_rungs, has_shapes
from harness.config.values import MAX_DEPTH, check_value, is_list, is_text, kind_of, misfit, shown
from harness.records.errors import InputError, near, nearest

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
# Mappings whose keys the user chooses, so the schema does not list them.
OPEN_MAPPINGS = (
    "data.tasks.",
    "grid.arms.",
    "grid.budgets.",
    "grid.lr_scale.",
    "launcher.resources.",
    "launcher.sbatch.",
    "data.sources.",
)
# Mappings that a new value replaces; of others it keeps the entries that it does not set.
WHOLE = ("grid.arms",)
# Keys that hold a path: any character may stand in it, `~` is the home folder.
PATH_KEYS = ("data.path", "data.eval_path", "data.contamination", "results_dir", "cache_dir")
# Characters of no width that come along with pasted text.
INVISIBLE = "\ufeff\u200b\u2060"
MAX_LENGTH = 100_000


@dataclass(frozen=True)
class Override:
    """A setting of the command line.

    Attributes:
        key: dotted name of the key.
        value: its value, of plain Python types.
        removes: whether the key is removed from its mapping instead.
    """

    key: str
    value: Any = None
    removes: bool = False


@cache
def options(group: str) -> list[str]:
    """Return the names of a config group, for example those of the grids."""
    return sorted(path.stem for path in (SWEEPS / group).glob("*.yaml"))


@cache
def groups() -> list[str]:
    """Return the names of all config groups."""
    return sorted(path.name for path in SWEEPS.iterdir() if path.is_dir() and options(path.name))


def without_control(text: str) -> str:
    """Return a typed text without control characters, which come along with what is pasted."""
    return "".join(c for c in text if unicodedata.category(c) != "Cc" and c not in INVISIBLE)


def key_of(argument: str) -> str:
    """Return the key of `key=value`, with or without `+` or `~` in front."""
    return argument.lstrip("+~").split("=", 1)[0].strip()


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the choices of config groups among the arguments, checked, and all other arguments.

    Raises:
        InputError: no grid is chosen, or a group has no such option.
    """
    chosen: dict[str, str] = {}
    others = []
    for argument in arguments:
        key, value = key_of(argument), argument.partition("=")[2]
        if "=" not in argument or key not in groups() or argument.startswith("~"):
            others.append(argument)
        elif key == "grid" and not argument.startswith("+"):
            raise InputError(
                f"the grid is added, not overridden; type +grid={shown(value)} instead of grid=…"
            )
        else:
            # The last choice counts, as the last value of a key does.
            chosen[key] = value
    if "grid" not in chosen:
        raise InputError(
            f"a grid was expected and none was given; add one of: +grid={', +grid='.join(options('grid'))}"
        )
    for group, value in chosen.items():
        names = options(group)
        if value not in names:
            raise InputError(
                f"{group}={shown(value)} is not there; {group} is one of {', '.join(names)}"
                + near(value, names)
            )
    return [f"{'+' if group == 'grid' else ''}{group}={value}" for group, value in chosen.items()], others


def read(arguments: list[str], known: list[str], schema: type) -> list[Override]:
    """Return the overrides among the arguments that choose no config group.

    Args:
        arguments: `key=value`, `+key=value` or `~key`.
        known: every key of the schema.
        schema: dataclass of all settings.

    Raises:
        InputError: an argument cannot be read, its key is unknown, or its value does not fit.
    """
    return [_read(argument, arguments[i + 1 :], known, schema) for i, argument in enumerate(arguments)]


def _read(argument: str, rest: list[str], known: list[str], schema: type) -> Override:
    """Return the override of one argument; `rest` are the arguments behind it."""
    if len(argument) > MAX_LENGTH:
        raise InputError(
            f"{shown(argument)} is longer than {MAX_LENGTH:,} characters; write it into a grid file"
        )
    key, is_set, typed = argument.partition("=")
    key, typed = key.lstrip("+~").strip(), typed.strip()
    if argument.startswith("~"):
        return _removed(key, argument)
    if not is_set:
        raise InputError(
            f"{shown(argument)} is no key=value; type its key in front, and quote a value that has blanks"
        )
    if key not in known and not key.startswith(OPEN_MAPPINGS):
        raise InputError(unknown_key(key, argument, known))
    kind = kind_of(key, schema)
    if kind is None:
        raise InputError(unknown_key(key, argument, known))
    if key in PATH_KEYS:
        return Override(key, _path(key, argument.partition("=")[2]))
    value = _value(key, kind, typed, rest)
    if key == RUNGS and has_shapes(value):
        check_rungs(value, typed)
    else:
        check_value(key, kind, value, typed)
    return Override(key, value)


def _removed(key: str, argument: str) -> Override:
    """Return the override that removes a key, which only a free mapping can lose."""
    if not key.startswith(OPEN_MAPPINGS):
        raise InputError(
            f"{shown(argument)} removes a key that every sweep has; set it instead: {shown(key)}=VALUE"
        )
    return Override(key, removes=True)


def _path(key: str, typed: str) -> str | None:
    """Return the path that was typed, or None for null."""
    if not typed.strip():
        raise InputError(f"{key}= names no path; type one, or leave {key} out")
    return None if typed == "null" else typed


def _value(key: str, kind: Any, typed: str, rest: list[str]) -> Any:
    """Return the value that a typed text stands for.

    Args:
        key: its key, for messages.
        kind: its type; a text that is no value of the grammar stands for itself if the key holds text.
        typed: the text.
        rest: arguments behind it, which may be the end of a list with blanks.
    """
    # An option of another program, such as `export=ALL,X=1`, is text unless it begins like a list.
    literal = is_text(kind) or (kind is Any and not typed.startswith(("[", "{", "'", '"')))
    depth = _depth(typed)
    if literal and not 0 <= depth <= MAX_DEPTH:
        return typed
    if depth < 0:
        raise misfit(key, kind, typed, _cut_off(key, typed, rest) or "brackets and quotes come in pairs")
    if depth > MAX_DEPTH:
        raise misfit(key, kind, typed, f"more than {MAX_DEPTH} levels of brackets came")
    try:
        read = OverridesParser.create().parse_override(f"{key}={typed}")
    except (HydraException, RecursionError, ValueError, OverflowError):
        if literal:
            return typed
        raise misfit(key, kind, typed, "text with signs in it is quoted") from None
    if not read.is_sweep_override():
        return read.value()
    if literal:
        return typed
    several = f"{key}=[{_items(typed)}]" if is_list(kind) else "one sweep for each of several values"
    raise misfit(key, kind, typed, f"type {several}")


def _depth(typed: str) -> int:
    """Return how deep brackets are nested outside quotes; -1 if one is not closed or closes nothing."""
    deepest, open_ones, quote, before = 0, "", "", ""
    for sign in typed:
        if quote:
            quote = "" if sign == quote and before != "\\" else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{":
            open_ones += sign
            deepest = max(deepest, len(open_ones))
        elif sign in "]}":
            if open_ones[-1:] != {"]": "[", "}": "{"}[sign]:
                return -1
            open_ones = open_ones[:-1]
        before = sign
    return -1 if open_ones or quote else deepest


def _cut_off(key: str, typed: str, rest: list[str]) -> str | None:
    """Return what to type for a list with blanks, which came as several arguments; None if it is none."""
    whole = typed
    for word in rest:
        if "=" in word:
            break
        whole += word.strip()
        if 0 <= _depth(whole) <= MAX_DEPTH:
            return f"it is cut off at a blank; type {key}={shown(whole)}, or put quotes around it all"
    return None


def _items(typed: str) -> str:
    """Return the items of several values, such as those of `choice(1,2)`."""
    return shown(typed[typed.find("(") + 1 : -1] if typed.endswith(")") else typed)


def unknown_key(key: str, argument: str, known: list[str]) -> str:
    """Return the sentence for an unknown key, with the nearest known one."""
    hint = near_key(key, known) or "; --cfg prints all keys"
    return f"unknown key {shown(key)!r} in {shown(argument)!r}{hint}"


def near_key(key: str, known: list[str]) -> str:
    """Return a clause that suggests the key nearest to a mistyped one; empty if none is near.

    Its last name must be near, and the names in front as well, unless only one key has that last name.
    """
    section, _, name = key.rpartition(".")
    of = {each: each.rpartition(".")[0] for each in known}
    named = [each for each in known if each.rpartition(".")[2] == name]
    if len(named) == 1 and name:
        return f"; did you mean {named[0]}?"
    near_section = section if section in of.values() else nearest(section, [*filter(None, of.values())])
    inside = [each for each in known if of[each] == near_section] if section else known
    by_name = {each.rpartition(".")[2]: each for each in inside}
    found = nearest(name, list(by_name))
    return f"; did you mean {by_name[found]}?" if found else ""
