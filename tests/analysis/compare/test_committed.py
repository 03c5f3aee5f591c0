"""The committed comparison of arms: its study again, and the report that shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.compare.arms import compare_all
from analysis.records.fits import read_study
from analysis.report.build import draw_figures, read_sweep, render
from analysis.tables.table import load_table
from harness.records.columns import ARM, ARM_ROLE
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from tests import ROOT

FOLDER = SweepFolder(ROOT / "results/compare")


def test_the_study_is_that_of_the_table() -> None:
    points, stored = read_table(FOLDER.points), read_study(FOLDER.fits)
    found, doubts = compare_all(points, resamples=200, level=0.9, seed=0)
    assert doubts == ()
    assert stored.comparisons is not None
    for again, before in zip(found, stored.comparisons, strict=True):
        assert (again.first, again.second) == (before.first, before.second)
        assert again.top.compute == pytest.approx(before.top.compute, rel=1e-3)
        assert again.top.compute_interval == pytest.approx(before.top.compute_interval, rel=5e-3)
        assert (again.by_seed, again.n_pairs, again.n_cells) == (True, 36, 12)


def test_fits_of_the_sweep_see_the_base_arm_alone() -> None:
    points, stored = read_table(FOLDER.points), read_study(FOLDER.fits)
    base = points[points[ARM] == "base"]
    assert set(points.role[points[ARM] != "base"]) == {ARM_ROLE}
    assert len(load_table(points)) == len(base)
    assert stored.quoted is not None
    assert stored.quoted.nobs == len(base)
    assert stored.excluded == ()
    # The arms of one seed read the same text, so the losses of a pair go together.
    assert set(points.groupby(ARM).seed.nunique()) == {3}


def test_the_report_shows_every_arm(tmp_path: Path) -> None:
    root = shutil.copytree(FOLDER.root, tmp_path / "compare", ignore=shutil.ignore_patterns("runs"))
    sweep = read_sweep(root)
    assert "arms" in draw_figures(sweep)
    page = render(sweep, {})
    comparisons = sweep.fits.comparisons or ()
    for found in comparisons:
        assert f"<h3>{found.second} against {found.first}</h3>" in page
        low, high = found.top.compute_interval
        assert f"{found.top.compute:.3f} [{low:.3f}, {high:.3f}]" in page
    assert [each.second for each in comparisons] == ["no_key_shift", "swiglu"]
    assert page.index("base looks better than no_key_shift") < page.index('<h2 id="numbers">')
