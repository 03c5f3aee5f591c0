"""JSON schemas of records: what a reader accepts, for programs that are not written in Python.

The rules are those of `harness/records/json_files.py`. A float that is not finite is null, and a field with a
default may be missing. A part stands beside the keys of its owner. An unknown key is refused.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from harness.records.json_files import CHECK, LAYOUT, NOT_STORED, PART

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # null if it is not finite
    NoneType: {"type": "null"},
    Any: {},
}
HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of all other keys."}


def schema_of(kind: type, name: str, version: int) -> dict[str, Any]:
    """Return the JSON schema of a file that holds one record.

    Args:
        kind: dataclass of the record.
        name: name of the file without its suffix.
        version: number that the key `schema` of such files holds.

    References:
        JSON Schema, draft 2020-12.
    """
    definitions: dict[str, Any] = {}
    record = _record(kind, definitions)
    record["properties"]["schema"] = {"const": version, "description": "Version of the keys."}
    record["properties"].setdefault(CHECK, HASH)
    head = {"$schema": DIALECT, "$id": f"urn:scaling-harness:{name}:{version}", "title": f"{name}.json"}
    return {**head, **record, "$defs": {key: definitions[key] for key in sorted(definitions)}}


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; records go into `definitions`."""
    if kind in PLAIN:
        return dict(PLAIN[kind])
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # Stands here while its own fields are read.
            definitions[kind.__name__] = _record(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union([_schema(each, definitions) for each in arguments])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = [_schema(each, definitions) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    raise TypeError(f"a record has a field of {kind}, which has no schema")


def _union(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one schema for several; plain types are one list of types."""
    if all(set(each) == {"type"} for each in found):
        names: list[str] = []
        for each in found:
            names += [each["type"]] if isinstance(each["type"], str) else each["type"]
        return {"type": list(dict.fromkeys(names))}
    return {"anyOf": found}


def _record(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a dataclass."""
    hints, meanings = get_type_hints(kind), _meanings(kind)
    properties: dict[str, Any] = {}
    required: list[str] = []
    parts: list[dict[str, Any]] = []
    for each in fields(kind):
        layout = each.metadata.get(LAYOUT)
        if layout == NOT_STORED[LAYOUT]:
            continue
        if layout == PART[LAYOUT]:
            parts.append(_record(get_args(hints[each.name])[0], definitions))
            continue
        properties[each.name] = _schema(hints[each.name], definitions)
        if each.name in meanings:
            properties[each.name]["description"] = meanings[each.name]
        if not _has_default(each):
            required.append(each.name)
    found = {"type": "object", "description": _summary(kind), "properties": properties, "required": required}
    return {**found, **_with_parts(properties, parts), "additionalProperties": False}


def _with_parts(properties: dict[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the keys of parts to those of their owner, and return which keys ask for which others.

    The first key of a part says that it is there. A key may belong to several parts.
    """
    if not parts:
        return {}
    owners = Counter(name for part in parts for name in part["properties"])
    together: dict[str, list[str]] = {}
    for part in parts:
        first, *others = part["properties"]
        together |= {first: part["required"]} | {name: [first] for name in others if owners[name] == 1}
        for name, schema in part["properties"].items():
            before = properties.get(name, schema)
            properties[name] = schema if before == schema else {"anyOf": [before, schema]}
    return {"dependentRequired": together}


def _has_default(each: Field[Any]) -> bool:
    return each.default is not MISSING or each.default_factory is not MISSING


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _meanings(kind: type) -> dict[str, str]:
    """Return the meaning of each field by the docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")
        for entry in re.split(r"\n(?= {4}\w)", section.split("\n\n")[0]):
            name, _, meaning = entry.strip().partition(": ")
            found[name] = " ".join(meaning.split())
    return found
