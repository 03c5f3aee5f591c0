"""sweep.json: of this version, of earlier ones, of later ones, and files that are something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.records.errors import InputError
from harness.records.files import write_json
from harness.records.json_files import to_json, write_record
from harness.records.sweep_file import find_sweep, read_sweep
from tests import ROOT
from tests.fakes.record import cell, sweep_record

COMMITTED = sorted((ROOT / "results").glob("*/sweep.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_a_committed_sweep_is_read_and_loses_nothing(path: Path) -> None:
    old, new = json.loads(path.read_text()), to_json(read_sweep(path))
    kept = set(old) - {"provenance", "sha256"}
    assert {key: new[key] for key in kept} == {key: old[key] for key in kept}
    assert old["provenance"].items() <= new["provenance"].items()


def test_a_record_without_schema_and_later_keys_is_of_schema_1(tmp_path: Path) -> None:
    record = sweep_record(cells=(cell("aa", 4),))
    content = to_json(record)
    for key in ("schema", "seconds_total", "worker_seconds"):
        del content[key]
    del content["provenance"]["code_dirty"], content["provenance"]["devices"]
    del content["corpus"]["unigram_nats"]
    write_json(tmp_path / "sweep.json", content)
    found = read_sweep(tmp_path / "sweep.json")
    assert (found.schema, found.cells, found.worker_seconds) == (1, record.cells, {})
    assert (found.provenance.code_dirty, found.corpus.unigram_nats) == (None, None)


@pytest.mark.parametrize("text", [None, "[1]", '{"recipe": {}}', '{"cells'])
def test_a_file_that_is_no_record_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "sweep.json"
    if text is not None:
        path.write_text(text)
    assert find_sweep(path) is None
    with pytest.raises(InputError, match="is no record of a sweep; give the folder of one"):
        read_sweep(path)


def test_a_record_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    write_record(path, sweep_record(schema=9))
    with pytest.raises(InputError, match="was written under schema 9 and this version reads up to 1"):
        find_sweep(path)


def test_a_record_with_a_wrong_key_names_it(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    write_json(path, to_json(sweep_record()) | {"weather": "fine"})
    with pytest.raises(InputError, match="weather"):
        read_sweep(path)
