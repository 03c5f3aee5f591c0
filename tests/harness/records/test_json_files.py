"""JSON files as records: layouts of fields, strict types, numbers that are not finite, schemas."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.records.errors import InputError
from harness.records.files import write_json
from harness.records.json_files import (
    ABSENT_IF_NONE,
    NOT_STORED,
    PART,
    from_json,
    read_record,
    to_json,
)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Wheel:
    radius: float
    spokes: int | None


@dataclass(frozen=True)
class Lamp:
    watts: int


@dataclass(frozen=True)
class Bicycle:
    name: str
    colour: Colour
    gears: tuple[int, ...]
    wheel: Wheel | None = field(default=None, metadata=PART)
    note: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    checked: bool = field(default=True, metadata=NOT_STORED)
    riders: tuple[str, ...] = ()
    former: tuple[str, ...] | None = None
    size: tuple[float, float] = (1.0, 2.0)
    prices: Mapping[str, float] | None = None
    lamps: tuple[Lamp, ...] = ()
    schema: int = 1


OTHERS = {
    "riders": ["Ada"],
    "former": None,
    "size": [1.0, 2.0],
    "prices": {"new": 9.0},
    "lamps": [{"watts": 3}],
}
HAS: dict[str, Any] = {"riders": ("Ada",), "prices": {"new": 9.0}, "lamps": (Lamp(3),)}
PLAIN = {"name": "b", "colour": "red", "gears": [1, 2], **OTHERS, "schema": 1}


@pytest.mark.parametrize(
    ("record", "written"),
    [
        (Bicycle("b", Colour.RED, (1, 2), **HAS), PLAIN),
        (
            Bicycle("b", Colour.RED, (1, 2), Wheel(0.5, None), "new", **HAS),
            PLAIN | {"radius": 0.5, "spokes": None, "note": "new"},
        ),
    ],
)
def test_layouts_of_fields_go_both_ways(record: Bicycle, written: dict[str, Any]) -> None:
    assert to_json(record) == written
    assert from_json(written, Bicycle, "b.json") == record


def test_numbers_that_are_not_finite_are_null() -> None:
    written = to_json(Wheel(np.float64("inf"), None))
    assert written == {"radius": None, "spokes": None}
    assert math.isnan(from_json(written, Wheel, "w.json").radius)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gears": [10**500]}, r"gears"),
        ({"name": None}, r"expected str.*name"),
        ({"name": 3}, r"name"),
        ({"gears": [1.5]}, r"gears"),
        ({"gears": [True]}, r"gears"),
        # Neither the letters of a word nor the keys of an object are a list of words.
        ({"riders": "Ada"}, r"expected a list, got 'Ada' @ \.riders$"),
        ({"riders": {"Ada": 1}}, r"expected a list, got \{'Ada': 1\} @ \.riders$"),
        ({"riders": ["Ada", ["B"]]}, r"expected str, got \['B'\] @ \.riders\[1\]$"),
        ({"former": "Bob"}, r"expected a list, got 'Bob' @ \.former$"),
        ({"size": "12"}, r"expected a list, got '12' @ \.size$"),
        ({"size": [1.0]}, r"expected 2 values, got \[1\.0\] @ \.size$"),
        ({"prices": "x" * 1000}, r"expected an object, got 'x+\.\.\.x+' @ \.prices$"),
        ({"prices": ["new"]}, r"expected an object, got \['new'\] @ \.prices$"),
        ({"lamps": "ab"}, r"expected a list, got 'ab' @ \.lamps$"),
        ({"lamps": ["ab"]}, r"expected an object, got 'ab' @ \.lamps\[0\]$"),
        ({"colour": "blue"}, r"colour"),
        ({"radius": "x", "spokes": 1}, r"radius"),
        ({"radius": 1.0}, r"spokes"),
        ({"spokes": 3}, r"extra fields found \(spokes\)"),
        ({"checked": True}, r"checked"),
    ],
)
def test_a_wrong_key_or_type_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"^b.json is not as expected: .*{words}"):
        from_json(PLAIN | change, Bicycle, "b.json")


def test_a_mapping_is_checked_whichever_record_was_read_first() -> None:
    @dataclass(frozen=True)
    class Shop:
        prices: Mapping[str, float]
        sizes: Mapping[str, int]

    assert from_json({"prices": {"new": 9.0}, "sizes": {}}, Shop, "s.json").prices == {"new": 9.0}
    for wrong in ("prices", "sizes"):
        given = {"prices": {}, "sizes": {}, wrong: "x"}
        with pytest.raises(InputError, match=rf"expected an object, got 'x' @ \.{wrong}$"):
            from_json(given, Shop, "s.json")
    with pytest.raises(InputError, match=r"expected an object, got 'x' @ \.prices$"):
        from_json(PLAIN | {"prices": "x"}, Bicycle, "b.json")


def test_an_older_schema_is_migrated_and_a_newer_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_json(path, to_json(Bicycle("b", Colour.RED, ())))
    old = {"title" if key == "name" else key: value for key, value in json.loads(path.read_text()).items()}
    path.write_text(json.dumps(old))

    def renamed(value: dict[str, Any]) -> dict[str, Any]:
        return {"name" if key == "title" else key: entry for key, entry in value.items()}

    assert read_record(path, Bicycle, 2, {1: renamed}).name == "b"
    path.write_text(json.dumps(PLAIN | {"schema": 3}))
    with pytest.raises(InputError, match="written under schema 3 and this version reads up to 2"):
        read_record(path, Bicycle, 2, {1: renamed})


@pytest.mark.parametrize(
    ("text", "words"), [(None, "cannot be read"), ("{", "is no JSON"), ("[]", "no record")]
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "b.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_record(path, Bicycle, 1)
