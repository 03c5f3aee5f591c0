"""JSON files as typed records: a dataclass is written, a checked dataclass is read.

Every file has a `schema` number. A reader refuses a file of a newer schema and renames the keys of an older
one, so no record of another version is half understood.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.v import transform_error

from harness.records.errors import InputError
from harness.records.files import write_json

Record = TypeVar("Record")
Migration = Callable[[dict[str, Any]], dict[str, Any]]

CONVERTER = cattrs.Converter(forbid_extra_keys=True)
# How deep below its record a wrong key is named in an error; further causes add nothing.
SHOWN_CAUSES = 1


def plain(value: Any) -> Any:
    """Return `value` as JSON types only.

    NumPy scalars become numbers, tuples and arrays become lists, numbers that are not finite become None.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # Arrays and scalars of NumPy, which this floor need not import.
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(record: Any) -> Any:
    """Return a record as plain JSON types, in the order of its fields."""
    return plain(CONVERTER.unstructure(record))


def write_record(path: Path, record: Any) -> None:
    """Write a record atomically as indented JSON."""
    write_json(path, to_json(record))


def from_json(value: Any, kind: type[Record], source: str) -> Record:
    """Return the record that `value` holds.

    Raises:
        InputError: a key is missing, unknown or of the wrong type; the text names `source` and the key.
    """
    try:
        return CONVERTER.structure(value, kind)
    except (BaseValidationError, ForbiddenExtraKeysError, KeyError, TypeError, ValueError) as error:
        causes = transform_error(error, path="")[:SHOWN_CAUSES]
        raise InputError(f"{source} is not as expected: {'; '.join(causes)}") from error


def read_record(
    path: Path, kind: type[Record], schema: int, migrations: Mapping[int, Migration] | None = None
) -> Record:
    """Read the record in a JSON file.

    Args:
        path: the file.
        kind: dataclass of the record; its field `schema` is the number that the file was written under.
        schema: number that this version writes.
        migrations: by older number, a function from a file's content to its content under the next number.

    Raises:
        InputError: there is no such file, it is no JSON or of a newer schema, or its content does not fit
            `kind`.
    """
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}; write it anew by the command that made it") from error
    return from_json(current(value, str(path), schema, migrations or {}), kind, str(path))


def current(value: Any, source: str, schema: int, migrations: Mapping[int, Migration]) -> Any:
    """Return the content of a file under the keys of today; raise InputError for an unknown schema."""
    if not isinstance(value, dict):
        raise InputError(f"{source} holds no record: expected a JSON object, got {type(value).__name__}")
    written = value.get("schema", 1)
    if not isinstance(written, int) or written > schema:
        raise InputError(
            f"{source} was written under schema {written} and this version reads up to {schema}; "
            "update the harness"
        )
    for number in range(written, schema):
        value = {**migrations[number](value), "schema": number + 1} if number in migrations else value
    return {**value, "schema": schema}
