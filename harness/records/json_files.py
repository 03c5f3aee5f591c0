"""JSON files as typed records: a dataclass is written, a checked dataclass is read.

A record has a `schema` number. A reader refuses a file of a newer schema and renames the keys of an older
one, so no record of another version is half understood.

A file also has a `sha256` of its other keys. A reader refuses a file whose hash differs; files of earlier
versions have none.

A field is one key of the same name, unless its metadata say otherwise: PART, ABSENT_IF_NONE, NOT_STORED.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory, override
from cattrs.v import format_exception, transform_error

from harness.records.errors import Damaged, InputError
from harness.records.files import read_bytes, write_json

Record = TypeVar("Record")
Migration = Callable[[dict[str, Any]], dict[str, Any]]

CHECK = "sha256"
CANONICAL = json.JSONEncoder(sort_keys=True, allow_nan=False)  # of what is hashed

CONVERTER = cattrs.Converter(forbid_extra_keys=True)
# How deep below its record a wrong key is named in an error; further causes add nothing.
SHOWN_CAUSES = 1
# How a field stands in JSON, as its metadata: `field(default=None, metadata=PART)`.
LAYOUT = "layout"
PART = {LAYOUT: "part"}  # a record whose keys stand beside those of its owner; without them None
ABSENT_IF_NONE = {LAYOUT: "absent if None"}  # the key is left out rather than null
NOT_STORED = {LAYOUT: "not stored"}  # no key: the reader computes the value


def _laid_out(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind) and any(LAYOUT in f.metadata for f in fields(kind))


def _layouts(kind: Any) -> dict[str, str]:
    return {each.name: each.metadata.get(LAYOUT, "") for each in fields(kind)}


@CONVERTER.register_unstructure_hook_factory(_laid_out)
def _writer(kind: type) -> Callable[[Any], dict[str, Any]]:
    layouts = _layouts(kind)

    def write(record: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, layout in layouts.items():
            value = getattr(record, name)
            if layout == NOT_STORED[LAYOUT] or (layout and value is None):
                continue
            written = CONVERTER.unstructure(value)
            found |= written if layout == PART[LAYOUT] else {name: written}
        return found

    return write


@CONVERTER.register_structure_hook_factory(_laid_out)
def _reader(kind: type) -> Callable[[Any, Any], Any]:
    """Return a function that gathers the keys of each part and reads the result as a nested record.

    A part is there if the key of its first field is, so no other part of the owner may have that key.
    """
    layouts, hints = _layouts(kind), get_type_hints(kind)
    parts = {
        name: [own.name for own in fields(get_args(hints[name])[0])]
        for name, layout in layouts.items()
        if layout == PART[LAYOUT]
    }
    computed: dict[str, Any] = {
        name: override(omit=True) for name, layout in layouts.items() if layout == NOT_STORED[LAYOUT]
    }
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        kind, CONVERTER, _cattrs_forbid_extra_keys=True, **computed
    )

    def structure(value: Any, _: Any) -> Any:
        rest = dict(value)
        for name, keys in parts.items():
            if keys[0] in rest:
                rest[name] = {key: rest.pop(key) for key in keys if key in rest}
        return read(rest, kind)

    return structure


LARGEST = 2**63  # of the absolute values of integers


def _number(value: Any, _: Any) -> float:
    if value is None:  # A number that is not finite was written as null.
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {shortened(value)}")
    return float(value)


def _exactly(value: Any, kind: type) -> Any:
    """Return a value of this very type: cattrs alone would turn null into the text "None"."""
    if issubclass(kind, Enum):  # A StrEnum comes here as a kind of str.
        return kind(value)
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {shortened(value)}")
    # Tables have no larger integers, and quotients of them overflow.
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise TypeError(f"expected an integer of 64 bits, got one of {value.bit_length()}")
    return value


CONVERTER.register_structure_hook(float, _number)
for _kind in (int, str, bool):
    CONVERTER.register_structure_hook(_kind, _exactly)


# Kinds whose own reader is asked for at this moment.
_asked: ContextVar[frozenset[Any]] = ContextVar("asked", default=frozenset())


def _is_container(kind: Any) -> bool:
    of = get_origin(kind) or kind
    holds = isinstance(of, type) and (is_dataclass(of) or issubclass(of, tuple | Mapping))
    return holds and kind not in _asked.get()


@CONVERTER.register_structure_hook_factory(_is_container)
def _container_reader(kind: Any) -> Callable[[Any, Any], Any]:
    """Return a reader that takes a JSON list for a tuple, and a JSON object for a record or a mapping.

    cattrs alone would take a word as the list of its letters, and an object as the list of its keys.
    """
    origin = get_origin(kind) or kind
    if issubclass(origin, Mapping):
        # Asked for its own reader of a mapping, the converter would keep that one in place of ours.
        read: Callable[[Any, Any], Any] = mapping_structure_factory(kind, CONVERTER)
    else:
        token = _asked.set(_asked.get() | {kind})
        try:
            read = CONVERTER.get_structure_hook(kind, cache_result=False)
        finally:
            _asked.reset(token)
    is_list = issubclass(origin, tuple)
    types, name = ((list, tuple), "a list") if is_list else (Mapping, "an object")
    of = get_args(kind)
    length = len(of) if is_list and of and of[-1] is not Ellipsis else None

    def checked_first(value: Any, wanted: Any) -> Any:
        if not isinstance(value, types):
            raise TypeError(f"expected {name}, got {shortened(value)}")
        if length is not None and len(value) != length:
            raise TypeError(f"expected {length} values, got {shortened(value)}")
        return read(value, wanted)

    return checked_first


def _spelled(error: BaseException, kind: type | None) -> str:
    """Return what was expected and what came, where our own readers say so."""
    text = str(error)
    own = isinstance(error, TypeError) and text.startswith("expected ")
    return text if own else format_exception(error, kind)


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


def content_sha256(content: Mapping[str, Any]) -> str:
    """Return the hash of a JSON object without its own `sha256`, as canonical JSON."""
    return _sha256({key: value for key, value in content.items() if key != CHECK})


def _sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(CANONICAL.encode(content).encode()).hexdigest()


def with_check(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its hash; a hash that it has already is kept, as a seal."""
    found = plain(content)
    return found if CHECK in found else found | {CHECK: content_sha256(found)}


def write_checked(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with its hash."""
    write_json(path, with_check(content))


def write_record(path: Path, record: Any) -> None:
    """Write a record atomically as indented JSON, with its hash."""
    write_checked(path, to_json(record))


def from_json(value: Any, kind: type[Record], source: str) -> Record:
    """Return the record that `value` holds.

    Raises:
        InputError: a key is missing, unknown or of the wrong type; the text names `source` and the key.
    """
    try:
        return CONVERTER.structure(value, kind)
    except (BaseValidationError, ForbiddenExtraKeysError, KeyError, TypeError, ValueError) as error:
        causes = transform_error(error, path="", format_exception=_spelled)[:SHOWN_CAUSES]
        said = "; ".join(cause.removesuffix(" @ ") for cause in causes)
        raise InputError(f"{source} is not as expected: {said}") from error


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
        Damaged: there is no such file, it is no JSON, or it has other content than was written.
        InputError: it is of a newer schema, or its content does not fit `kind`.
    """
    return from_json(current(read_checked(path), str(path), schema, migrations or {}), kind, str(path))


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, whatever its hash says; raise Damaged if it is no JSON."""
    data = read_bytes(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(path, f"it is no JSON: {error}" if data else "it is empty") from error


def read_checked(path: Path) -> Any:
    """Return the content of a JSON file without its hash.

    Raises:
        Damaged: there is no such file, it is no JSON, or it has other content than was written.
    """
    return checked(read_json(path), path)


def checked(content: Any, path: Path) -> Any:
    """Return the content of a file without its hash; raise Damaged if the hash is of another content."""
    if not isinstance(content, dict) or CHECK not in content:
        return content
    rest = dict(content)
    written = rest.pop(CHECK)
    try:
        is_as_written = written == _sha256(rest)
    except (ValueError, TypeError, RecursionError):  # NaN, which we never write.
        is_as_written = False
    if not is_as_written:
        raise Damaged(path, "its checksum differs")
    return rest


def current(value: Any, source: str, schema: int, migrations: Mapping[int, Migration]) -> Any:
    """Return the content of a file under the keys of today; raise InputError for an unknown schema."""
    if not isinstance(value, dict):
        raise InputError(f"{source} holds no record: expected a JSON object, got {type(value).__name__}")
    written = value.get("schema", 1)
    if not isinstance(written, int) or not 0 < written <= schema:
        raise InputError(
            f"{source} was written under schema {written} and this version reads up to {schema}; "
            "update the harness"
        )
    for number in range(written, schema):
        try:
            value = {**migrations[number](value), "schema": number + 1} if number in migrations else value
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(
                f"{source} says that it is of schema {number} and lacks what such a file has; write it anew "
                "by the command that made it"
            ) from error
    return {**value, "schema": schema}
