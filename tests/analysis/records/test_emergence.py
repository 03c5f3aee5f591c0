"""emergence.json: a round trip, the older schema, and wrong keys named in one sentence."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.records import emergence
from analysis.records.emergence import SCHEMA, Axis, EmergenceRecord, Verdict, read_emergence
from harness.records.errors import InputError
from harness.records.json_files import from_json, to_json, write_record
from tests import ROOT

COMMITTED = ROOT / "results" / "emergence" / "emergence.json"
RECORDS = [kind for kind in vars(emergence).values() if is_dataclass(kind)]


@pytest.fixture(scope="module")
def record() -> EmergenceRecord:
    return read_emergence(COMMITTED)


def as_schema_2(value: dict[str, Any]) -> dict[str, Any]:
    """Take away what schema 3 added."""
    for task in value["tasks"]:
        task["sharpness"].pop("largest")
        if task["width"]:
            task["width"].pop("onset")
    return value | {"schema": 2}


def as_schema_1(value: dict[str, Any]) -> dict[str, Any]:
    value = as_schema_2(value)
    value["level"] = value.pop("significance")
    for axis in value["axes"]:
        axis["held"] = axis.pop("constant")
    return value | {"schema": 1}


@pytest.mark.parametrize("older", [as_schema_1, as_schema_2])
def test_older_schemas_are_read_under_the_keys_of_today(
    record: EmergenceRecord, tmp_path: Path, older: Any
) -> None:
    path = tmp_path / "emergence.json"
    path.write_text(json.dumps(older(to_json(record))))
    found = read_emergence(path)
    assert found.schema == SCHEMA
    assert found.significance == record.significance
    assert found.axes == record.axes
    assert [task.verdict for task in found.tasks] == [task.verdict for task in record.tasks]
    assert all(task.sharpness.largest is None for task in found.tasks)
    assert {task.task for task in found.along(Axis.LOSS) if not task.has_exact} == {"text"}


def test_a_record_is_read_as_it_was_written(record: EmergenceRecord, tmp_path: Path) -> None:
    write_record(tmp_path / "emergence.json", record)
    assert read_emergence(tmp_path / "emergence.json") == record


def renamed(value: dict[str, Any]) -> None:
    value["tasks"][0]["sizes"][0]["exakt"] = 1.0


def lacking(value: dict[str, Any]) -> None:
    del value["tasks"][0]["fall_p"]


def unknown_verdict(value: dict[str, Any]) -> None:
    value["tasks"][0]["verdict"] = "miracle"


@pytest.mark.parametrize(
    ("spoil", "words"), [(renamed, "exakt"), (lacking, "fall_p"), (unknown_verdict, "verdict")]
)
def test_a_wrong_key_is_named(record: EmergenceRecord, spoil: Any, words: str) -> None:
    value = to_json(record)
    spoil(value)
    with pytest.raises(InputError, match=words):
        from_json(value, EmergenceRecord, "emergence.json")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "emergence.json"
    path.write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(InputError, match=f"written under schema {SCHEMA + 1}"):
        read_emergence(path)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_field_is_explained(kind: Any) -> None:
    assert [each.name for each in fields(kind) if f"        {each.name}: " not in kind.__doc__] == []


def test_every_verdict_has_a_label() -> None:
    assert set(emergence.LABELS) == set(Verdict)
    assert all(verdict.label for verdict in Verdict)


def test_what_needs_exact_match_is_not_said_without_it(record: EmergenceRecord) -> None:
    (text,) = [task for task in record.first if not task.has_exact]
    assert text.verdict == Verdict.SMOOTH
    assert text.label == "smooth in the one metric measured"
    assert not any(word in label for label in emergence.SMOOTH_ONLY.values() for word in ("exact", "every"))


def test_no_share_of_the_committed_study_is_above_the_whole(record: EmergenceRecord) -> None:
    shares = [task.sharpness.share for task in record.tasks if task.sharpness.share is not None]
    assert len(shares) == len(record.tasks)
    assert max(shares) <= 1 + 1e-9
    # The sentences spell shares out; one above 100 % would be an error of the fit.
    assert not [task.words for task in record.tasks if re.search(r"1[0-9][1-9] ?% of the fall", task.words)]
