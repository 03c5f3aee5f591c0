"""The page of one sweep: its data, and what a browser shows of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.serve import site
from harness.records.paths import SweepFolder
from tests import ROOT
from tests.analysis.serve.pages import Pages, served
from tests.fakes.running import running_sweep
from tests.fakes.runs import state

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, float]]:
    """A folder with the sweep `live`, its running run, and the true losses of the ends of that run."""
    root = tmp_path_factory.mktemp("results")
    (root / "live").mkdir()
    run, true = running_sweep(root / "live", until=4_000)
    speed = {"tokens_trained": 2_100_000, "tokens_ahead": 9_000_000, "tokens_per_second": 50_000.0}
    state(SweepFolder(root / "live"), "running", run=run, loss=2.71, **speed)
    return root, run, true


def data(pages: Pages, name: str = "live") -> Any:
    return pages.ask(f"/api/sweep/{name}").json


def test_a_running_sweep_has_progress_curves_and_forecasts(
    running: tuple[Path, str, dict[str, float]],
) -> None:
    root, run, true = running
    with served(root) as pages:
        found = data(pages)
    assert (found["state"], found["grid"], found["level"]) == ("running", "chinchilla, quick", 0.9)
    assert re.search(r"1 running.*; 50,000 tokens/s in all, about \d+ min", found["headline"])
    first = found["runs"][0]
    assert (first["run"], first["status"], first["n_finished"]) == (run, "running", 3)
    assert first["seconds_left"] == pytest.approx(138)
    texts = dict(zip(found["columns"], first["texts"], strict=True))
    assert (texts["left"], texts["loss"], texts["points"]) == ("2 min 18 s", "2.710", "3/6")
    curve = found["curves"][0]
    assert (curve["run"], curve["is_ahead"], curve["rung"]) == (run, True, "d96")
    # 512 tokens a step, and evaluations up to step 4000.
    assert 0.5 * 4_000 * 512 < max(curve["n_tokens"]) <= 4_000 * 512
    *reached, ahead = curve["ends"]
    assert [end["basis"] for end in reached] == ["measured"] * 3
    assert ahead["basis"] == "runs"
    low, high = ahead["interval"]
    assert low < ahead["loss"] < high
    assert ahead["loss"] == pytest.approx(min(true.values()), rel=0.03)
    assert ahead["n_tokens"] == pytest.approx(7_340_032, rel=0.01)
    assert texts["ends at, 90 %"] == f"{ahead['loss']:.3f} ± {(high - low) / 2:.3f}"
    assert sum(each["is_ahead"] for each in found["curves"]) == 1
    assert found["alarms"] == []


def test_the_data_follow_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(site, "SHARE", 1.0)
    (tmp_path / "live").mkdir()
    running_sweep(tmp_path / "live", until=2_000)
    with served(tmp_path) as pages:
        first = pages.ask("/api/sweep/live")
        etag = first.headers["ETag"]
        assert pages.ask("/api/sweep/live", If_None_Match=etag).status == 304
        running_sweep(tmp_path / "live", until=4_000, factor=1.08, after=2_000)
        second = pages.ask("/api/sweep/live", If_None_Match=etag)
        assert second.status == 200
        assert max(second.json["curves"][0]["n_tokens"]) > max(first.json["curves"][0]["n_tokens"])
        (alarm,) = second.json["alarms"]
        assert re.match(r"alarm: d96 seed 50 left its band at step 2048: loss \d\.\d+, expected", alarm)


def test_a_sweep_is_looked_at_once_a_second_at_most(
    running: tuple[Path, str, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "LEAST_SECONDS", 3600.0)
    with served(running[0]) as pages:
        looks = []
        monkeypatch.setattr(site, "asdict", lambda _: looks.append(1) or {"n": len(looks)})
        assert [data(pages)["n"] for _ in range(3)] == [1, 1, 1]


def test_a_finished_sweep_shows_the_curves_of_its_tables() -> None:
    with served(ROOT / "results") as pages:
        found = data(pages, "chinchilla")
        older = data(pages, "replications/chinchilla/r01")
    assert (found["state"], found["has_report"], found["n_more"]) == ("finished", True, 0)
    assert len(found["curves"]) == 30
    assert {end["basis"] for curve in found["curves"] for end in curve["ends"]} == {"measured"}
    assert min(end["loss"] for curve in found["curves"] for end in curve["ends"]) == pytest.approx(
        2.187, abs=1e-3
    )
    # Replications are committed without curves.
    assert (older["curves"], older["state"]) == ([], "finished")


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: Debian's chromium")
def test_a_browser_shows_the_numbers(running: tuple[Path, str, dict[str, float]], tmp_path: Path) -> None:
    assert CHROMIUM
    with served(running[0]) as pages:
        found = data(pages)
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
             "--virtual-time-budget=3000", "--dump-dom", f"{pages.address}sweep/live"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    page = done.stdout
    first = found["runs"][0]
    for text in filter(None, first["texts"]):
        assert f">{text}</td>" in page
    assert found["headline"] in page
    assert re.search(r'id="state" class="state running">running<', page)
    assert page.count('class="line"') == len(found["curves"])
    ahead = found["curves"][0]["ends"][-1]
    low, high = ahead["interval"]
    assert f"d96 seed 50 ends at {ahead['loss']:.3f} [{low:.3f}, {high:.3f}] after 7.34M tokens" in page
    assert page.count('class="interval"') == 1
    assert "Last look at" in page
