"""The data dictionary in results/README.md says what the tables and files hold, no less and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from analysis.records.emergence import EmergenceRecord, Verdict
from analysis.result import WarningCode
from harness.records.columns import CURVE_COLUMNS, EVAL_COLUMNS, ITEM_COLUMNS, POINT_COLUMNS
from harness.records.paths import SweepFolder
from tests import ROOT
from tests.fakes.sweep import make_sweep

README = ROOT / "results" / "README.md"
NAMED_BY_DATA = {
    "params",
    "se",
    "se_gauss_newton",
    "interval",
    "adequacy",
}  # their keys are parameters and laws


def section(name: str) -> str:
    return re.split(r"^## ", README.read_text().split(f"\n## {name}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("points.parquet", POINT_COLUMNS),
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


def _nested(key: str, entry: Any) -> Any:
    return list(entry.values()) if key in NAMED_BY_DATA and isinstance(entry, dict) else entry


def keys_of(value: Any) -> Iterator[str]:
    """Every key of a JSON value, without those that are names of parameters or laws."""
    if isinstance(value, list):
        for entry in value:
            yield from keys_of(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield key
            yield from keys_of(_nested(key, entry))


def keys_of_record(kind: Any) -> Iterator[str]:
    """Every key of a record and of the records inside it, read off their types."""
    for part in get_args(kind):
        yield from keys_of_record(part)
    if is_dataclass(kind):
        kinds = get_type_hints(kind)
        for each in fields(kind):
            yield each.name
            yield from keys_of_record(kinds[each.name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return SweepFolder(make_sweep(tmp_path_factory.mktemp("results") / "fake"))


@pytest.mark.parametrize("name", ["fits.json", "forecast.json"])
def test_every_key_is_explained(folder: SweepFolder, name: str) -> None:
    explained = set(re.findall(r"`(\w+)`", section("fits.json") + section("forecast.json")))
    written = set(keys_of(json.loads((folder.root / name).read_text())))
    assert written - explained == set()


@pytest.mark.parametrize("path", sorted(README.parent.glob("*/fits.json")), ids=lambda path: path.parent.name)
def test_every_key_of_a_real_sweep_is_explained(path: Path) -> None:
    explained = set(re.findall(r"`(\w+)`", section("fits.json") + section("forecast.json")))
    assert set(keys_of(json.loads(path.read_text()))) - explained == set()


def test_every_key_on_emergence_is_explained() -> None:
    explained = set(re.findall(r"`(\w+)`", section("emergence.json")))
    assert set(keys_of_record(EmergenceRecord)) - explained == set()


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
    table = section("fits.json").split("| code | doubt |")[1].split("\n\n")[0]
    explained = [code for row in table.splitlines()[2:] for code in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(explained) == sorted(code.value for code in WarningCode)
