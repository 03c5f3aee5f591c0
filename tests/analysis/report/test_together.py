"""Several sweeps in one report: what both say, their differences, and bad input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.records.averages import AveragedQuantity, AveragedRecord
from analysis.records.fits import read_study
from analysis.report.__main__ import main
from analysis.report.together import difference, write_together
from harness.records.paths import SweepFolder
from tests import ROOT
from tests.analysis.report.pages import TOGETHER, text_of, unscripted

pytestmark = pytest.mark.usefixtures("few_starts")

RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def page(together_file: Path) -> str:
    return unscripted(together_file.read_text())


def test_every_sweep_speaks_and_is_linked(page: str) -> None:
    text = text_of(page)
    for name in TOGETHER:
        assert f"/results/{name}/report.html" in page
        forecast = read_study(SweepFolder(RESULTS / name).fits).forecast
        assert forecast is not None
        assert f"was off by {forecast.rms_percent:.2f} % RMS" in text
    assert page.count("<svg") == 1


def test_budgets_are_those_that_all_frontiers_have(page: str) -> None:
    frontiers = [read_study(SweepFolder(RESULTS / name).fits).frontier for name in TOGETHER]
    common = set.intersection(*({round(np.log10(row.flops), 3) for row in rows} for rows in frontiers))
    table = page[page.index('id="budgets"') : page.index('id="differences"')]
    assert table.count("<tr>") == 3 * (1 + len(common))
    assert table.count("<td>") == 3 * len(common) * (1 + len(TOGETHER))


def test_laws_are_compared_on_the_same_text_alone(page: str) -> None:
    text = text_of(page)
    assert "depth: at equal N and D the losses of ladder vary as n_layers^0.0" in text
    assert "Their laws were not compared: the sweeps have corpus_id=" in text


def test_the_same_sweeps_give_the_same_page(page: str, tmp_path: Path) -> None:
    again = write_together([RESULTS / name for name in TOGETHER], tmp_path / "both.html", resamples=40)
    links = r'href="[^"]*report\.html"'
    assert re.sub(links, "", unscripted(again.read_text())) == re.sub(links, "", page)


def recorded(value: float, below: float, above: float) -> AveragedRecord:
    return AveragedRecord(AveragedQuantity.E, value, value - below, value + above, 0.9, True, ())


def test_a_difference_turns_round_with_its_sweeps() -> None:
    one, two = recorded(1.6, 0.1, 0.05), recorded(1.7, 0.02, 0.08)
    value, (low, high) = difference(one, two)
    assert (value, low, high) == pytest.approx((0.1, 0.1 - np.hypot(0.02, 0.05), 0.1 + np.hypot(0.08, 0.1)))
    back, ends = difference(two, one)
    assert (back, ends) == (pytest.approx(-value), pytest.approx((-high, -low)))


def test_intervals_of_differences_hold_the_truth() -> None:
    """Two quantities with skewed errors (lognormal) and their own 90 % intervals, 4,000 times."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(4000):
        both = []
        for centre, spread in ((1.6, 0.10), (1.7, 0.04)):
            found = centre * np.exp(spread * rng.standard_normal())
            low, high = found * np.exp(-1.6449 * spread), found * np.exp(1.6449 * spread)
            both.append(recorded(found, found - low, high - found))
        low, high = difference(both[0], both[1])[1]
        inside += low <= 0.1 <= high
    assert 0.885 <= inside / 4000 <= 0.915


def test_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = str(RESULTS / "chinchilla")
    assert main([own, own]) == 2
    assert "the same folder came twice" in capsys.readouterr().err
    assert main([own, str(RESULTS / "lr")]) == 2
    assert "holds no law fits" in capsys.readouterr().err
    assert main([own, str(tmp_path / "none")]) == 2
    assert "was expected and is not there" in capsys.readouterr().err
    assert main([own, "--out", "both.html"]) == 2
    assert "--out names the page of several sweeps" in capsys.readouterr().err
    other = tmp_path / "counted"
    shutil.copytree(RESULTS / "ladder", other)
    fits = json.loads((other / "fits.json").read_text())
    del fits["sha256"]
    fits["primary"]["count"] = "n_params"
    (other / "fits.json").write_text(json.dumps(fits))
    assert main([own, str(other)]) == 2
    assert "sizes compare only under one count of N" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))
