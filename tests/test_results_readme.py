"""The data dictionary in results/README.md says what the tables and files hold, no less and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from analysis.records.emergence import EmergenceRecord, Verdict
from analysis.records.fits import StudyRecord
from analysis.records.forecast import ForecastRecord
from analysis.records.replications import ReplicationsRecord
from analysis.records.warning_codes import SEVERITY, WarningCode
from harness.records.columns import CURVE_COLUMNS, EVAL_COLUMNS, ITEM_COLUMNS, point_columns
from harness.records.json_files import NOT_STORED, PART
from harness.records.paths import SweepFolder
from tests import ROOT

README = ROOT / "results" / "README.md"


def section(name: str) -> str:
    return re.split(r"^## ", README.read_text().split(f"\n## {name}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("points.parquet", point_columns(arms=True)),
        ("curves.parquet", CURVE_COLUMNS),
        ("evals.parquet", EVAL_COLUMNS),
        ("items.parquet", ITEM_COLUMNS),
    ],
)
def test_every_column_is_explained_in_order(name: str, columns: dict[str, str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]+)\|$", section(name), flags=re.MULTILINE)
    assert [column for column, _, _ in rows] == list(columns)
    assert all(len(meaning.strip()) > 3 for _, _, meaning in rows)


@pytest.mark.parametrize("column", ["flops", "n_tokens", "loss", "bits_per_byte", "seconds", "batch_tokens"])
def test_measured_columns_have_a_unit(column: str) -> None:
    found = re.search(rf"^\| `{column}` \|([^|]+)\|", section("points.parquet"), flags=re.MULTILINE)
    assert found
    assert found[1].strip()


def record_keys(kind: Any) -> Iterator[str]:
    """Every key that the fields of a record, and of the records inside it, have in JSON."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        for each in fields(kind):
            if each.metadata not in (PART, NOT_STORED):
                yield each.name
            yield from record_keys(hints[each.name])
    for inside in get_args(kind):
        yield from record_keys(inside)


@pytest.mark.parametrize("kind", [StudyRecord, ForecastRecord])
def test_every_key_of_a_record_is_explained(kind: type) -> None:
    explained = set(re.findall(r"`(\w+)`", section("fits.json") + section("forecast.json")))
    assert set(record_keys(kind)) - explained == set()


@pytest.mark.parametrize(("name", "kind"), [("fits.json", StudyRecord), ("forecast.json", ForecastRecord)])
def test_tables_list_the_keys_of_a_file_in_order(name: str, kind: type) -> None:
    table = section(name).split("| key | meaning |")[1].split("\n\n")[0]
    keys = [each.name for each in fields(kind) if each.metadata != NOT_STORED]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == keys


def test_every_key_on_replications_is_explained() -> None:
    names = ("Replications", "forecast.json", "fits.json")
    explained = set(re.findall(r"`(\w+)`", "".join(map(section, names))))
    assert set(record_keys(ReplicationsRecord)) - explained == set()
    table = section("Replications").split("| key | meaning |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == [
        each.name for each in fields(ReplicationsRecord)
    ]


def test_every_key_on_emergence_is_explained() -> None:
    explained = set(re.findall(r"`(\w+)`", section("emergence.json")))
    assert set(record_keys(EmergenceRecord)) - explained == set()


def test_every_verdict_is_explained_once() -> None:
    table = section("emergence.json").split("| verdict | meaning |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == [each.value for each in Verdict]


def test_every_file_is_listed() -> None:
    folder = SweepFolder(Path("x"))
    paths = [folder.sweep, folder.points, folder.curves, folder.evals, folder.items]
    paths += [folder.forecast, folder.fits, folder.emergence, folder.report]
    listed = README.read_text().split("\n## ")[0]
    assert [path.name for path in paths if f"| `{path.name}` |" not in listed] == []


def test_every_warning_code_is_explained_once() -> None:
    table = section("fits.json").split("| code | weight | doubt |")[1].split("\n\n")[0]
    rows = [row.split("|") for row in table.splitlines()[2:]]
    explained = [(code, row[2].strip()) for row in rows for code in re.findall(r"`(\w+)`", row[1])]
    weights = [(code.value, SEVERITY[code].name.lower()) for code in WarningCode]
    assert sorted(explained) == sorted(weights)
