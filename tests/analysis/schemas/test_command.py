"""JSON schemas in the package: not stale, true of committed files, and as strict as the readers."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from analysis.schemas import __main__ as schemas
from analysis.schemas.__main__ import RECORDS, folder
from harness.records.errors import InputError
from harness.records.files import json_text
from harness.records.json_files import CHECK, from_json
from tests import ROOT

COMMITTED = sorted(
    path
    for name in ("fits", "forecast", "sweep")
    for path in (ROOT / "results").rglob(f"{name}.json")
    # One of the replications stands for all.
    if "replications" not in path.parts or path.parent.name == "r01"
)


@cache
def validator(name: str, version: int) -> Draft202012Validator:
    return Draft202012Validator(json.loads((folder() / f"{name}-{version}.schema.json").read_text()))


def test_the_schemas_are_those_of_the_records() -> None:
    """If this fails, `python -m analysis.schemas` writes them anew."""
    stored = {path.name: path.read_text() for path in folder().glob("*.json")}
    made = {name: json_text(schema) for name, schema in schemas.schemas().items()}
    assert {name: stored.get(name) for name in made} == made
    for schema in stored.values():
        Draft202012Validator.check_schema(json.loads(schema))


def test_every_key_is_explained() -> None:
    """A key that several parts share has a meaning in each."""
    unexplained = []
    for file, schema in schemas.schemas().items():
        for record, found in {"": schema, **schema["$defs"]}.items():
            for key, each in found["properties"].items():
                meanings = [part.get("description") for part in each.get("anyOf", [each])]
                if not each.get("description") and not all(meanings):
                    unexplained.append(f"{file} {record}.{key}")
    assert unexplained == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.relative_to(ROOT / "results").as_posix())
def test_committed_files_are_valid(path: Path) -> None:
    """Those of the version of today; of older ones the schema says that they are older."""
    content = json.loads(path.read_text())
    _, version = RECORDS[path.stem]
    wrong = [error.json_path for error in validator(path.stem, version).iter_errors(content)]
    if content.get("schema", version) == version:
        assert wrong == []
    else:
        assert "$.schema" in wrong


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to every value inside a JSON value; of long lists to the first and last."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else sorted({0, len(value) - 1}) if value else []
        for key in keys:
            yield (*way, key)
            yield from places(value[key], (*way, key))


def at(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def damaged(content: Any, seed: int) -> Any:
    """The content with one key gone, one more, or a value of another type."""
    draw = random.Random(seed)
    found = copy.deepcopy(content)
    *above, last = draw.choice(list(places(content)))
    owner = at(found, tuple(above))
    if isinstance(owner, dict) and draw.random() < 0.4:
        del owner[last]
    elif isinstance(owner, dict) and draw.random() < 0.3:
        owner["unheard_of"] = 1
    else:
        owner[last] = draw.choice(["word", -1.5, None, True, [], {}, [1, 2, 3]])
    return found


@pytest.mark.parametrize("name", ["forecast", "sweep"])
def test_a_schema_refuses_what_the_reader_refuses(name: str) -> None:
    content = json.loads((ROOT / "results" / "chinchilla" / f"{name}.json").read_text())
    kind, version = RECORDS[name]
    lax, strict, refused = [], set(), 0
    for seed in range(400):
        changed = damaged(content, seed)
        try:
            # The hash is checked before, and is no field of most records.
            read = {key: value for key, value in changed.items() if key != CHECK or name == "forecast"}
            from_json(read, kind, name)
            accepted = changed.get("schema", version) == version
        except InputError:
            accepted = False
        refused += not accepted
        wrong = [error.validator_value for error in validator(name, version).iter_errors(changed)]
        if not wrong and not accepted:
            lax.append(seed)
        # A hash of another form is found by its check.
        if wrong and accepted and changed.get(CHECK) == content.get(CHECK):
            strict |= set(wrong)
    assert lax == []
    # The reader takes a word for the list of its letters, and an empty object for an empty list.
    assert strict <= {"array"}
    assert 20 < refused < 380


def test_the_command_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas.main(["--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr().out.split()
    assert [Path(path).name for path in said] == sorted(path.name for path in folder().glob("*.json"))
    assert all(Path(path).read_text() == (folder() / Path(path).name).read_text() for path in said)
    (tmp_path / "taken").touch()
    assert schemas.main(["--out", str(tmp_path / "taken" / "inside")]) == 2
    assert "give another folder (--out)" in capsys.readouterr().err
