"""emergence.json: a round trip, the older schema, and wrong keys named in one sentence."""

from __future__ import annotations

import json
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


def test_schema_1_is_read_under_the_keys_of_today(record: EmergenceRecord) -> None:
    written = json.loads(COMMITTED.read_text())
    assert written["schema"] == 1
    assert record.schema == SCHEMA
    assert record.significance == written["level"]
    assert [axis.constant for axis in record.axes] == [axis["held"] for axis in written["axes"]]
    assert [task.verdict.value for task in record.tasks] == [task["verdict"] for task in written["tasks"]]
    assert {task.task for task in record.along(Axis.LOSS) if not task.has_exact} == {"text"}


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
