"""The live IsoFLOP figure: its rows are the slices and minima of the fit."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.isoflop import fit_isoflop
from analysis.explorer.sections import isoflop
from analysis.explorer.sections.isoflop import isoflop_figure
from analysis.explorer.vega import SIGNALS
from analysis.plots.isoflop import drawn_slices
from analysis.plots.style import as_stored
from analysis.records.fit import FitRecord
from analysis.report.sections import shown_isoflop
from tests.analysis.explorer.test_charts import FUNCTIONS, expressions
from tests.analysis.report.section_pages import sweep_of

TITLES, RUNGS = ["N", "N of the body"], ["d16", "d32"]


@cache
def interpolated() -> tuple[pd.DataFrame, FitRecord]:
    """The committed sweep, a rectangle of sizes and tokens."""
    sweep = sweep_of("chinchilla")
    fit = shown_isoflop(sweep.fits)
    assert fit
    assert sweep.fits.primary
    assert fit.count == sweep.fits.primary.count
    return sweep.finished, fit


@cache
def measured() -> tuple[pd.DataFrame, FitRecord]:
    """Two seeds at each of five sizes and three budgets."""
    axes = np.meshgrid(range(5), np.geomspace(1e15, 1e17, 3), (0, 1), indexing="ij")
    rung, c, seed = (axis.ravel() for axis in axes)
    n = np.geomspace(1e6, 1e8, 5)[rung.astype(int)]
    d = c / 6 / n
    loss = (1 + 1e-4 * seed) * (1.7 + 400 * n**-0.34 + 410 * d**-0.28)
    frame = pd.DataFrame({"N": n, "D": d, "loss": loss, "rung": [f"r{each:g}" for each in rung]})
    fit = as_stored(fit_isoflop(frame[["N", "D", "loss"]], resamples=0))
    points = frame.rename(columns={"N": fit.count, "D": "n_tokens"})
    return points.assign(flops=6 * points[fit.count] * points["n_tokens"], role="fit"), fit


@pytest.mark.parametrize("of", [interpolated, measured])
def test_sizes_and_minima_are_those_of_the_fit(of: object) -> None:
    assert callable(of)
    done, fit = of()
    figure = isoflop_figure(done, fit, TITLES, RUNGS, with_law=True)
    assert figure
    assert fit.isoflop
    slices = drawn_slices(done, fit)
    names = figure.charts[0]["usermeta"]["card"]["names"]
    assert len(names) == len(slices) == len(fit.isoflop.optima)
    for g, (piece, optimum) in enumerate(zip(slices, fit.isoflop.optima, strict=True)):
        assert piece.flops == pytest.approx(optimum.flops)
        sizes = [row for row in figure.rows["slices"] if row["g"] == g]
        assert len(sizes) == optimum.n_sizes
        assert [row["n"] for row in sizes] == pytest.approx(piece.n.tolist())
        assert [row["loss"] for row in sizes] == pytest.approx(piece.loss.tolist())
        drawn = [row for row in figure.rows["optima"] if row["g"] == g]
        curve = [row for row in figure.rows["slice_curves"] if row["g"] == g]
        assert len(drawn) == (optimum.reason is None)
        if optimum.reason is None:
            assert optimum.loss
            assert drawn[0]["n"] == optimum.n_opt
            assert drawn[0]["n_low"] < optimum.n_opt < drawn[0]["n_high"]
            assert min(row["loss"] for row in curve) == pytest.approx(optimum.loss, rel=1e-3)
            assert all(row["fitted"] for row in curve)
    assert [row["c"] for row in figure.rows["profiles"]] == [each.flops for each in slices]


def test_measured_sizes_say_of_how_many_runs_they_are() -> None:
    done, fit = measured()
    figure = isoflop_figure(done, fit, TITLES, RUNGS, with_law=False)
    assert figure
    assert {row["made"] for row in figure.rows["slices"]} == {"2 runs"}
    assert [row["what"] for row in figure.rows["slices"]][:5] == [f"r{i}" for i in range(5)]
    assert "profiles" not in figure.rows


@pytest.mark.parametrize("with_law", [False, True])
def test_every_signal_and_function_exists(with_law: bool) -> None:
    done, fit = interpolated()
    figure = isoflop_figure(done, fit, TITLES, RUNGS, with_law=with_law)
    assert figure
    chart = figure.charts[0]
    known = {signal["name"] for signal in chart["signals"]} | {"datum", "height", "width", "null", "true"}
    assert set(SIGNALS) <= known
    assert all(data["name"] in {*figure.rows, "runs"} for data in chart["data"] if "source" not in data)
    for text in expressions(chart):
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
        called = set(re.findall(r"(\w+)\(", bare))
        assert called <= FUNCTIONS, text
        words = set(re.findall(r"(?<![\w.])[a-zA-Z_]\w*", bare)) - called - {"x_log", "y_log"}
        assert words <= known, (text, words - known)


def test_many_slices_have_few_names_and_very_many_sizes_stay_a_static_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, fit = interpolated()
    monkeypatch.setattr(isoflop, "MOST_NAMES", 2)
    figure = isoflop_figure(done, fit, TITLES, RUNGS, with_law=False)
    assert figure
    assert [row["g"] for row in figure.rows["slice_names"]] == [0, 3]
    monkeypatch.setattr(isoflop, "MOST_SIZES", 3)
    assert isoflop_figure(done, fit, TITLES, RUNGS, with_law=False) is None
    none = replace(fit, isoflop=replace(fit.isoflop, min_sizes=99)) if fit.isoflop else fit
    assert isoflop_figure(done, none, TITLES, RUNGS, with_law=False) is None
