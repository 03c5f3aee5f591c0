"""Identity of a run: the hash of everything that decides its numbers.

The recipe is turned into a nested dict, and `run_id` is a hash of that dict as canonical JSON. Fields that
were added or renamed later keep the identity of older recipes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import field, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple

# Metadata of a field whose own `to_dict()` is merged into the recipe's dict instead of nested in it.
MERGED = {"merged": True}


def added(default: Any, key: str | None = None) -> Any:
    """Declare a field that older recipes lack.

    At its default it is left out of the hash, so that recipes written before it keep their `run_id`. `key` is
    its name in the recipe's dict if the field was renamed.
    """
    return field(default=default, metadata={"added": True, "key": key})


def stored_as(key: str) -> Any:
    """Declare a renamed field: the recipe's dict keeps the old `key`, so that `run_id` stays."""
    return field(metadata={"key": key})


def recipe_dict(spec: Any) -> dict[str, Any]:
    """Return a recipe as a nested dict: the content of spec.json, which `run_id` hashes.

    `added` fields at their default are left out; renamed fields have their old key.
    """
    found: dict[str, Any] = {}
    kind: Any = type(spec)
    for item in _fields(kind):
        value = getattr(spec, item.name)
        if item.is_added and value == item.default:
            continue
        if item.is_merged:
            found |= value.to_dict()
        else:
            found[item.key] = recipe_dict(value) if is_dataclass(value) else value
    return found


class _Field(NamedTuple):
    """A field of a recipe: its name, its key in the dict, and how it was declared."""

    name: str
    key: str
    is_added: bool
    is_merged: bool
    default: Any


@cache
def _fields(kind: Any) -> tuple[_Field, ...]:
    # Cached: a sweep of 10,000 runs hashes as many recipes, and `dataclasses.fields` is slow.
    return tuple(
        _Field(
            item.name,
            item.metadata.get("key") or item.name,
            bool(item.metadata.get("added")),
            bool(item.metadata.get("merged")),
            item.default,
        )
        for item in fields(kind)
    )


def from_stored(kind: Any, values: dict[str, Any]) -> Any:
    """Build a part of a recipe from its dict, whose keys may be older than the names of its fields."""
    names = {item.key: item.name for item in _fields(kind)}
    return kind(**{names[key]: value for key, value in values.items()})


def content_id(value: Any, length: int = 12) -> str:
    """Return the first `length` hexadecimal digits of SHA-256 over a JSON value, whatever its key order.

    Raises:
        ValueError: If the value contains NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
