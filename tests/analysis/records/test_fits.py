"""fits.json and forecast.json as records: committed files, schema 1, seals, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.records.fit import FitRecord
from analysis.records.fits import StudyRecord, read_study
from analysis.records.forecast import forecast_from, read_forecast
from harness.records.errors import InputError
from harness.records.json_files import content_sha256, from_json, to_json
from tests import ROOT
from tests.fakes.fits import BARE, COUNTS, envelope_fit, isoflop_fit, kaplan_fit

Json = dict[str, Any]
RESULTS = ROOT / "results"
OLD = {"constant": "held", "constant_value": "held_value"}


def content(path: Path) -> Json:
    found: Json = json.loads(path.read_text())
    return found


def with_old_names(fit: Json) -> Json:
    return {OLD.get(key, key): value for key, value in fit.items()}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/fits.json")), ids=lambda path: path.parent.name)
def test_committed_studies_lose_nothing(path: Path) -> None:
    """Every key and number of the file stands in the record, under its name of today."""
    study = read_study(path)
    written, stored = to_json(study), content(path)
    if stored["schema"] == 1:
        written["fits"] = [with_old_names(fit) for fit in written["fits"]]
    stored.pop("sha256", None)  # the checksum of the file, which the record does not hold
    assert written | {"schema": None} == stored | {"schema": None}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/forecast.json")), ids=lambda path: path.parent.name)
def test_committed_seals_are_intact(path: Path) -> None:
    assert read_forecast(path).seal_intact
    forged = content(path) | {"law": "joint"}
    assert not forecast_from(forged, "forecast.json").seal_intact


def test_the_seal_covers_the_file_as_written_under_schema_1() -> None:
    path = RESULTS / "chinchilla" / "forecast.json"
    stored = content(path)
    del stored["fit"]["log_likelihood"], stored["fit"]["bootstrap"], stored["fit"]["se_gauss_newton"]
    old = stored | {"schema": 1}
    found = forecast_from(old | {"sha256": content_sha256(old)}, "forecast.json")
    assert found.seal_intact
    assert found.fit.estimation is not None
    assert (found.fit.estimation.bootstrap, found.fit.estimation.log_likelihood) == ("cluster", None)


def study_of(**values: Any) -> Json:
    empty = from_json(
        {
            "schema": 2,
            "reason": "",
            "adequacy": {},
            "noise": {},
            "warnings": [],
            "excluded": [],
            "verdict": "",
        },
        StudyRecord,
        "fits.json",
    )
    written: Json = to_json(replace(empty, fits=(kaplan_fit(COUNTS[0]),)))
    return written | values


def test_keys_of_schema_1_get_their_names_of_today(tmp_path: Path) -> None:
    path = tmp_path / "fits.json"
    (fit,) = study_of()["fits"]
    path.write_text(json.dumps(study_of(schema=1, fits=[with_old_names(fit)])))
    (found,) = read_study(path).fits
    assert found.kaplan == kaplan_fit(COUNTS[0]).kaplan
    assert read_study(path).schema == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 3}, r"schema 3 and this version reads up to 2; update the harness"),
        ({"verdikt": "x"}, r"extra fields found \(verdikt\)"),
        ({"warnings": [{"code": "few_sizes"}]}, r"required field missing @ \$?\.?warnings\[0\]\.message"),
        ({"warnings": [{"code": "fewer_sizes", "message": ""}]}, r"warnings\[0\]\.code"),
        ({"reason": None}, r"reason"),
    ],
)
def test_another_content_is_refused_with_its_key(tmp_path: Path, change: Json, words: str) -> None:
    path = tmp_path / "fits.json"
    path.write_text(json.dumps(study_of(**change)))
    with pytest.raises(InputError, match=words) as refused:
        read_study(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("fit", [BARE, isoflop_fit(COUNTS[0], 0.5), envelope_fit(COUNTS[1], 0.4)])
def test_parts_stand_beside_the_common_keys(fit: FitRecord) -> None:
    written = to_json(fit)
    assert not {"estimation", "kaplan", "isoflop", "envelope", "contested", "compared"} & set(written)
    assert ("edge" in written) == (fit.envelope is not None)
    assert ("optima" in written) == (fit.isoflop is not None)
    assert ("method" in written) == (fit.method is not None)
    assert from_json(written, FitRecord, "fit") == fit
