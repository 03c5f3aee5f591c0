"""The index: all sweeps with state, points, headline, wall-clock and links."""

from __future__ import annotations

import errno
import re
import shutil
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from analysis.records.fits import read_study
from analysis.serve import site
from harness.records import json_files
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from tests import ROOT
from tests.analysis.serve.pages import served
from tests.fakes.record import sweep_record
from tests.fakes.runs import CELLS, finish, planned_sweep, state

RESULTS = ROOT / "results"


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(site, "SHARE", 1.0)


def entries(text: str) -> dict[str, str]:
    """Text of each sweep by name, tags left out."""
    found = {}
    for part in re.findall(r"<li>(.*?)</li>", text, re.DOTALL):
        (name,) = re.findall(r'class="name"[^>]*>(.*?)</a>', part)
        found[unescape(name)] = unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part))).strip()
    return found


def forecast_of(name: str) -> str:
    """How a report states the error of a committed sweep's forecast."""
    scored = read_study(RESULTS / name / "fits.json").forecast
    assert scored
    assert scored.rms_percent
    return f"was off by {scored.rms_percent:.2f} % RMS"


def test_committed_sweeps_are_listed_with_state_points_headline_and_links() -> None:
    with served(RESULTS) as pages:
        text = pages.ask("/").text
        found = entries(text)
        wanted = {path.parent.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("sweep.json")}
        assert len(wanted) > 20
        assert set(found) == wanted
        said = found["chinchilla"]
        listed = r"chinchilla finished chinchilla, quick 74 of 74 points \d+ min \d+ s report 65 runs"
        assert re.match(listed, said)
        assert f"{forecast_of('chinchilla')}; 15 of 15 losses lie inside their intervals." in said
        assert "base looks better than no_key_shift" in found["compare"]
        assert "replications/chinchilla/r07 finished" in found["replications/chinchilla/r07"]
        # A study of replications speaks for its folder.
        assert "In the median of 14 unseen replications" in text
        for path in re.findall(r'href="(/[^"]*)"', text):
            assert pages.ask(path, method="HEAD").status == 200, path


def test_the_headline_is_that_of_the_report() -> None:
    with served(RESULTS) as pages:
        found = entries(pages.ask("/").text)["lr"]
    report = unescape((RESULTS / "lr" / "report.html").read_text())
    sentence = re.findall(r"(57 runs of 3 sizes.*?\.) ", found)[0]
    assert sentence in re.sub(r"\s+", " ", report)


def test_states_of_sweeps_and_those_that_need_a_look_first(tmp_path: Path) -> None:
    made = {name: planned_sweep(tmp_path / name) for name in ("done", "fails", "runs", "planned")}
    finish(made["done"], "aa1", "aa2")
    finish(made["done"], "bb1", "bb2", run="bb")
    state(made["fails"], "failed", error="OSError: disk")
    state(made["runs"], "running", tokens_ahead=10, tokens_trained=4, tokens_per_second=2.0)
    with served(tmp_path) as pages:
        found = entries(pages.ask("/").text)
        assert list(found) == ["runs", "fails", "planned", "done"]
        assert "running smoke, quick 0 of 4 points – 1 running, 1 missing; 2 tokens/s in all" in found["runs"]
        assert "failed smoke, quick" in found["fails"]
        assert "finished smoke, quick 4 of 4 points" in found["done"]
        # The index follows the files.
        state(made["runs"], "interrupted")
        assert "stopped" in entries(pages.ask("/").text)["runs"]


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"cells', '{"config": {}, "recipe": {}, "cells": [], "schema": 99}']
)
def test_a_damaged_record_is_shown_as_such_beside_the_others(tmp_path: Path, text: str) -> None:
    planned_sweep(tmp_path / "whole")
    broken = tmp_path / "bro ken<b>" / "sweep.json"
    broken.parent.mkdir()
    broken.write_text(text)
    with served(tmp_path) as pages:
        body = pages.ask("/").text
        assert "<b>" not in body
        found = entries(body)
        assert set(found) == {"whole", "bro ken<b>"}
        assert found["bro ken<b>"].startswith("bro ken<b> damaged")
        assert "sweep.json" in found["bro ken<b>"]
        problem = pages.ask("/api/sweep/bro%20ken%3Cb%3E").json["problem"]
        assert "sweep.json" in problem
        assert pages.ask("/sweep/bro%20ken%3Cb%3E").status == 200


def test_a_sweep_that_the_system_refuses_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "theirs"):
        planned_sweep(tmp_path / name)

    def refused(path: Path) -> bytes:
        if path.parent.name == "theirs":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return path.read_bytes()

    monkeypatch.setattr(json_files, "read_bytes", refused)
    with served(tmp_path) as pages:
        found = entries(pages.ask("/").text)
        assert "planned" in found["mine"]
        said = f"{tmp_path / 'theirs' / 'sweep.json'} cannot be read (permission denied)."
        assert found["theirs"] == f"theirs damaged {said}"
        assert pages.ask("/api/sweep/theirs").json == {"problem": said}


def test_damaged_fits_are_the_headline(tmp_path: Path) -> None:
    for name in ("sweep.json", "points.parquet"):
        (tmp_path / "one").mkdir(exist_ok=True)
        shutil.copy(RESULTS / "chinchilla" / name, tmp_path / "one" / name)
    (tmp_path / "one" / "fits.json").write_text("{}")
    with served(tmp_path) as pages:
        found = entries(pages.ask("/").text)["one"]
        assert found.startswith("one finished chinchilla, quick 74 of 74 points")
        assert "fits.json" in found
        # Written anew, the file is read anew.
        shutil.copy(RESULTS / "chinchilla" / "fits.json", tmp_path / "one" / "fits.json")
        assert forecast_of("chinchilla") in entries(pages.ask("/").text)["one"]


def test_fits_that_contradict_the_points_hide_no_other_sweep(tmp_path: Path) -> None:
    """Without a finished point the study has nothing to speak of."""
    for name in ("sweep.json", "fits.json"):
        (tmp_path / "odd").mkdir(exist_ok=True)
        shutil.copy(RESULTS / "chinchilla" / name, tmp_path / "odd" / name)
    points = pd.read_parquet(RESULTS / "chinchilla" / "points.parquet")
    points.assign(role="reference").to_parquet(tmp_path / "odd" / "points.parquet")
    planned_sweep(tmp_path / "whole")
    with served(tmp_path) as pages:
        found = entries(pages.ask("/").text)
        assert set(found) == {"odd", "whole"}
        assert "contradict each other" in found["odd"]


def test_a_folder_that_is_a_sweep_itself(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "mine")
    write_record(folder.sweep, sweep_record(cells=CELLS))
    with served(folder.root) as pages:
        assert list(entries(pages.ask("/").text)) == ["mine"]
        assert pages.ask("/api/sweep/mine").json["state"] == "planned"


def test_a_sweep_that_is_added_or_deleted(tmp_path: Path) -> None:
    planned_sweep(tmp_path / "one")
    with served(tmp_path) as pages:
        planned_sweep(tmp_path / "deep" / "er" / "two")
        assert set(entries(pages.ask("/").text)) == {"one", "deep/er/two"}
        shutil.rmtree(tmp_path / "one")
        shutil.rmtree(tmp_path / "deep")
        assert "no sweep here any more" in pages.ask("/").text
        assert pages.ask("/sweep/one").status == 404
