"""No interval without a bootstrap: null in JSON, no brackets in texts, no title that promises them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import analysis as sl
from analysis.contest.text import comparison_text
from analysis.frontier import find_frontier
from analysis.intervals import percentile_interval
from analysis.records.fit import COUNTS
from analysis.records.fits import StudyRecord
from harness.records.errors import InputError
from harness.records.json_files import to_json
from harness.records.paths import SweepFolder
from harness.sweep.finish import print_conclusion
from tests.fakes.surfaces import SMALL_JOINT, sweep_points
from tests.fakes.sweep import make_sweep
from tests.fakes.tables import additive, ladder

pytestmark = pytest.mark.usefixtures("few_starts")

ENDS = ("", "n_", "d_", "loss_", "law_", "from_law_")
BRACKETS = re.compile(r"\[([^\[\],]+), ([^\[\],]+)\]")


def intervals(found: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every interval field of nested JSON: (path, ends)."""
    if isinstance(found, list):
        for i, part in enumerate(found):
            yield from intervals(part, f"{path}[{i}]")
    if not isinstance(found, dict):
        return
    for key, value in found.items():
        if key == "interval" and isinstance(value, dict):
            yield from ((f"{path}.{key}.{name}", ends) for name, ends in value.items())
        elif key == "interval" or key.endswith("_interval"):
            yield f"{path}.{key}", value
        else:
            yield from intervals(value, f"{path}.{key}")
    for name in ENDS:
        low, high = f"{name}low", f"{name}high"
        if low in found and high in found:
            yield f"{path}.{low}", [found[low], found[high]]


def check_widths(found: Any) -> list[str]:
    """Return the paths of the intervals that are there; each has a width and no text for a number."""
    there = []
    for path, ends in intervals(found):
        if ends is None or None in ends:
            continue
        assert ends[0] < ends[1], f"{path} has no width: {ends}"
        there.append(path)
    return there


def check_words(text: str) -> None:
    """No interval in brackets has two equal ends, and no number is printed that is none."""
    assert [pair for pair in BRACKETS.findall(text) if pair[0].strip() == pair[1].strip()] == []
    assert not re.search(r"\bnan\b|\binf\b", text)


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.study.study.COUNTS", COUNTS[:1])
        return sl.study_sweep(sweep_points(SMALL_JOINT), resamples=0)


def test_a_study_without_bootstrap_has_no_intervals(study: StudyRecord) -> None:
    assert check_widths(to_json(study)) == []
    assert {row.n_low == row.n_low for row in study.frontier} == {False}, "NaN here, null in JSON"


def test_the_terminal_promises_no_intervals(study: StudyRecord, tmp_path: Path) -> None:
    console = Console(width=250, record=True, markup=False, file=io.StringIO())
    print_conclusion(console, SweepFolder(tmp_path), study)
    text = console.export_text()
    check_words(text)
    assert "N* ∝ C^a (→ recommended)" in text
    rows = tuple(replace(row, loss_low=np.nan, loss_high=np.nan) for row in study.frontier)
    print_conclusion(console, SweepFolder(tmp_path), replace(study, frontier=rows))
    bare = console.export_text()
    assert "compute-optimal frontier" in bare
    assert "with intervals" not in bare


@pytest.mark.parametrize("resamples", [0, 1])
def test_no_fit_has_an_interval_without_draws(resamples: int) -> None:
    table = ladder(additive, np.random.default_rng(0))
    isoflop = sl.fit_isoflop(_isoflop_runs(), resamples=resamples)
    fits = [sl.fit_law(table, resamples=resamples), isoflop, *sl.fit_envelope(table), *sl.fit_kaplan(table)]
    for fit in fits:
        assert check_widths(to_json(fit.to_record())) == []
        assert "[" not in fit.summary()
        assert "intervals: " not in fit.summary()
        assert "% intervals" not in fit._repr_html_()
        assert fit.bse.isna().all()
        with pytest.raises(InputError, match="this fit has no intervals"):
            fit.conf_int()
    curve = find_frontier(fits[0], table, [1e16, 1e17])
    assert check_widths(to_json(curve.rows())) == []
    assert (curve.a_interval, curve.b_interval) == (None, None)
    assert "low" not in curve._repr_html_().replace("flat_low", "")


def _isoflop_runs() -> pd.DataFrame:
    c, ratio = (x.ravel() for x in np.meshgrid([1e18, 1e19, 1e20, 1e21], np.geomspace(0.25, 4, 7)))
    n = ratio * 1.3 * (c / 6) ** 0.45
    d = c / (6 * n)
    return pd.DataFrame({"N": n, "D": d, "C": c, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})


def test_a_comparison_without_bootstrap_has_none() -> None:
    found = sl.compare_approaches(ladder(additive, np.random.default_rng(0)), resamples=0)
    assert check_widths(to_json(found.to_records())) == []
    check_words(comparison_text(found))
    assert "[" not in comparison_text(found).split("* recommended")[0].split("a [90 %]")[1]


def test_a_fixed_parameter_and_one_at_its_bound_have_none() -> None:
    table = ladder(additive, np.random.default_rng(0))
    fit = sl.fit_law(table, "chinchilla[E=1.9,alpha=0.5:3]", resamples=40)
    assert fit.params["alpha"] == 0.5
    assert set(fit.intervals()) == {"A", "B", "beta"}
    assert set(fit.errors()) == {"A", "B", "beta"}
    assert fit.conf_int().loc[["E", "alpha"]].isna().all(axis=None)
    assert fit.conf_int().index.tolist() == fit.params.index.tolist()
    check_widths(to_json(fit.to_record()))
    check_words(fit.summary())


def test_the_fields_of_a_sweep_s_report_have_width(tmp_path: Path) -> None:
    folder = SweepFolder(make_sweep(tmp_path / "sweep"))
    assert check_widths(to_json(sl.read_sweep(folder.root).fits))


@pytest.mark.parametrize("samples", [[], [1.0], [2.0, 2.0], [1.0, np.nan]])
def test_samples_without_spread_give_no_interval(samples: list[float]) -> None:
    assert percentile_interval(np.array(samples), 0.9) is None
