"""JSON schemas of records: layouts of fields, numbers that are not finite, enumerations, fixed tuples."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from analysis.schemas.json_schema import schema_of
from harness.records.json_files import ABSENT_IF_NONE, NOT_STORED, PART, from_json, to_json


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Wheel:
    """A wheel.

    Attributes:
        radius: its radius, m.
        spokes: how many.
    """

    radius: float
    spokes: int | None = None


@dataclass(frozen=True)
class Bell:
    tone: float
    spokes: str = ""


@dataclass(frozen=True, kw_only=True)
class Bicycle:
    """A bicycle,
    in two lines.

    More.

    Attributes:
        name: what it is called
            by its owner.
        colour: its colour.
    """

    schema: int = 2
    name: str
    colour: Colour
    gears: tuple[int, ...]
    size: tuple[float, float] = (0.0, 0.0)
    riders: dict[str, float | None] = field(default_factory=dict)
    wheel: Wheel | None = field(default=None, metadata=PART)
    bell: Bell | None = field(default=None, metadata=PART)
    lamp: Wheel | None = None
    note: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    checked: bool = field(default=True, metadata=NOT_STORED)


SCHEMA = schema_of(Bicycle, "bicycle", 2)
BARE = {"schema": 2, "name": "b", "colour": "red", "gears": [1]}


def test_what_is_written_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    full = Bicycle(
        name="b", colour=Colour.BLUE, gears=(1, 2), riders={"me": float("nan")}, wheel=Wheel(float("inf"), 3),
        lamp=Wheel(0.1), note="new",
    )  # fmt: skip
    for bicycle in (full, Bicycle(name="b", colour=Colour.RED, gears=())):
        Draft202012Validator(SCHEMA).validate(to_json(bicycle))


def test_meanings_come_from_docstrings() -> None:
    assert (SCHEMA["title"], SCHEMA["description"]) == ("bicycle.json", "A bicycle, in two lines.")
    assert SCHEMA["properties"]["name"]["description"] == "what it is called by its owner."
    assert SCHEMA["$defs"]["Wheel"]["properties"]["radius"]["description"] == "its radius, m."


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"schema": 1}, False),
        ({"colour": "green"}, False),
        ({"gears": [1.5]}, False),
        ({"gears": ["1"]}, False),
        ({"size": [1.0]}, False),
        ({"size": [1, None]}, True),
        ({"riders": {"me": "x"}}, False),
        ({"lamp": {"radius": 1.0}}, True),
        ({"lamp": {"spokes": 1}}, False),
        ({"note": None}, True),
        ({"checked": True}, False),
        ({"bells": 1}, False),
        ({"radius": 0.3}, True),
        ({"tone": 440.0, "spokes": "x"}, True),
        ({"radius": 0.3, "tone": 440.0, "spokes": 3}, True),
        ({"sha256": "0" * 64}, True),
        ({"sha256": "0"}, False),
    ],
)
def test_it_accepts_what_the_reader_accepts(change: dict[str, Any], valid: bool) -> None:
    content = BARE | change
    assert Draft202012Validator(SCHEMA).is_valid(content) is valid
    if set(change) & {"schema", "sha256"}:  # What is told before a record is read.
        return
    try:
        from_json(content, Bicycle, "it")
        accepted = True
    except ValueError:
        accepted = False
    assert accepted is valid


@pytest.mark.parametrize("key", ["name", "colour", "gears"])
def test_a_key_without_default_is_required(key: str) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid({k: v for k, v in BARE.items() if k != key})
