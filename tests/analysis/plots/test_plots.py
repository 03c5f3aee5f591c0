"""Figures: each draws the data it was given, the same bytes each time, without global state."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots
from analysis.plots.style import rung_styles
from analysis.records.fit import ExponentsRecord
from analysis.records.fits import RolloutRow
from analysis.report.build import Sweep, draw_figures, read_sweep
from harness.records.errors import InputError
from harness.records.number_text import power_of_ten, si
from tests.fakes.fits import isoflop_fit, kaplan_fit
from tests.fakes.sweep import make_sweep

NAMES = {
    "overview",
    "loss_curves",
    "loss_against_compute",
    "isoflop",
    "contours",
    "frontier",
    "residuals",
    "forecast",
    "rollout",
    "cloud",
    "profile",
    "counting",
    "ends",
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return read_sweep(make_sweep(tmp_path_factory.mktemp("results") / "fake"))


@pytest.fixture(scope="module")
def figures(sweep: Sweep) -> dict[str, Figure]:
    return draw_figures(sweep)


def line(figure: Figure, label: str, panel: int = 0) -> np.ndarray:
    """The (x, y) data of the lines with a label, one below the other."""
    found = [drawn for drawn in figure.axes[panel].lines if drawn.get_label() == label]
    return np.concatenate([np.asarray(drawn.get_xydata()) for drawn in found])


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_every_figure_is_drawn(figures: dict[str, Figure]) -> None:
    assert set(figures) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_axes_are_labelled_and_the_legend_is_beside_the_data(figures: dict[str, Figure], name: str) -> None:
    figure = figures[name]
    # A scale of colours has no x axis.
    assert all(axes.get_xlabel() for axes in figure.axes if axes.get_label() != "<colorbar>")
    assert figure.axes[0].get_ylabel()
    assert len(legend_texts(figure)) > 0
    assert all(axes.get_legend() is None for axes in figure.axes)


def test_svg_is_the_same_each_time_and_its_ids_are_its_own(sweep: Sweep) -> None:
    rows = sweep.fits.rollout
    first, second = (plots.to_svg(plots.rollout(rows, "joint"), "rollout") for _ in range(2))
    assert first == second
    ids = re.findall(r'\bid="([^"]+)"', first)
    references = re.findall(r'href="#([^"]+)"', first) + re.findall(r"url\(#([^)]+)\)", first)
    assert all(name.startswith("rollout-") for name in ids)
    assert set(references) <= set(ids)
    assert references
    ElementTree.fromstring(first)


def test_svg_is_short_and_draws_every_mark(sweep: Sweep, figures: dict[str, Figure]) -> None:
    text = plots.to_svg(figures["residuals"], "residuals")
    assert re.findall(r"\d\.\d{3,}", re.sub(r"scale\([^)]*\)", "", text)) == []
    # Letters are drawn at a sixty-fourth of their size: rounding that would blow them up.
    assert "scale(0.015625)" in text
    marks = [line for axes in figures["residuals"].axes for line in axes.lines if line.get_marker() != "None"]
    drawn = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}use")
    assert sum(1 for use in drawn if use.get("y")) >= sum(len(line.get_xdata()) for line in marks)
    assert len(text) < 4000 * len(sweep.finished)


def test_images_are_the_same_each_time(figures: dict[str, Figure], tmp_path: Path) -> None:
    figure = figures["frontier"]
    for folder in ("a", "b"):
        plots.write_images(figure, plots.to_svg(figure, "frontier"), tmp_path / folder, "frontier")
    for suffix in ("png", "svg"):
        one, two = (tmp_path / folder / f"frontier.{suffix}" for folder in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()


def test_pyplot_is_never_imported(figures: dict[str, Figure]) -> None:
    assert figures
    assert "matplotlib.pyplot" not in sys.modules


def test_loss_curves_mark_every_finished_point(sweep: Sweep, figures: dict[str, Figure]) -> None:
    drawn = np.concatenate(
        [line(figures["loss_curves"], text) for text in legend_texts(figures["loss_curves"])]
    )
    assert sorted(map(tuple, drawn)) == sorted(
        zip(sweep.finished.n_tokens.astype(float), sweep.finished.loss, strict=True)
    )


def test_loss_curves_fall_back_to_the_training_loss(sweep: Sweep) -> None:
    unevaluated = sweep.curves.assign(eval_loss=np.nan)
    one = plots.loss_curves(sweep.finished, unevaluated)
    assert len(one.axes[0].lines) == len(plots.loss_curves(sweep.finished, sweep.curves).axes[0].lines)


def test_hull_is_drawn_through_finished_points(sweep: Sweep, figures: dict[str, Figure]) -> None:
    hull = line(figures["loss_against_compute"], "lower hull")
    points = set(zip(sweep.finished.flops, sweep.finished.loss, strict=True))
    assert len(hull) > 3
    assert set(map(tuple, hull.tolist())) <= points


def test_isoflop_stars_only_the_optima_that_count(sweep: Sweep) -> None:
    fit = next(fit for fit in sweep.fits.fits if fit.isoflop)
    assert fit.isoflop is not None
    first, *others = fit.isoflop.optima
    doubted = replace(first, reason="no interior minimum", n_opt=None)
    fit = replace(fit, isoflop=replace(fit.isoflop, optima=(doubted, *others)))
    stars = line(plots.isoflop(sweep.finished, fit), "optimum, interior")
    assert stars[:, 0].tolist() == [row.n_opt for row in others]


def test_isoflop_draws_measured_budgets() -> None:
    points = pd.DataFrame(
        [
            {
                "n_params_matmul": n,
                "n_tokens": c / 6 / n,
                "flops": c,
                "loss": c**-0.05 * (20 + np.log(n / c**0.5) ** 2),
            }
            for c in (1e12, 1e13, 1e14)
            for n in c**0.5 * np.array([0.25, 0.5, 1, 2, 4])
        ]
    )
    fit = isoflop_fit("n_params_matmul", 0.5)
    assert fit.isoflop is not None
    measured = replace(fit.isoflop, slices="measured", min_sizes=5, optima=())
    figure = plots.isoflop(points, replace(fit, isoflop=measured))
    assert legend_texts(figure)[:3] == ["10¹²", "10¹³", "10¹⁴"]
    dots = line(figure, "10¹³")
    np.testing.assert_allclose(dots[:, 0], 1e13**0.5 * np.array([0.25, 0.5, 1, 2, 4]))
    np.testing.assert_allclose(dots[:, 1], points.loss[5:10])


def test_contours_show_runs_holdout_and_the_optimal_line(sweep: Sweep, figures: dict[str, Figure]) -> None:
    figure = figures["contours"]
    held = int((sweep.finished.role == "holdout").sum())
    assert len(line(figure, "runs")) == len(sweep.finished) - held
    assert len(line(figure, "runs held out for the forecast")) == held == 3
    optimal = line(figure, "compute-optimal")
    np.testing.assert_allclose(optimal[:, 0], [row.n_opt for row in sweep.fits.frontier])
    rule = line(figure, "20 tokens per parameter")
    np.testing.assert_allclose(rule[:, 1] / rule[:, 0], 20)


def test_frontier_rule_of_thumb_costs_what_runs_of_its_sizes_cost(
    sweep: Sweep, figures: dict[str, Figure]
) -> None:
    n, d = (line(figures["frontier"], "20 tokens per parameter", panel) for panel in (0, 1))
    np.testing.assert_allclose(d[:, 1] / n[:, 1], 20)
    points = sweep.finished.sort_values("n_params_matmul")
    sizes, per_token = points.n_params_matmul, points.flops / points.n_tokens
    inside = (n[:, 1] > sizes.min()) & (n[:, 1] < sizes.max())
    assert inside.any()
    expected = np.exp(np.interp(np.log(n[inside, 1]), np.log(sizes), np.log(per_token)))
    np.testing.assert_allclose(n[inside, 0] / d[inside, 1], expected, rtol=0.02)


def test_frontier_without_intervals_draws_no_band(sweep: Sweep) -> None:
    nothing = dict.fromkeys(("n_low", "n_high", "d_low", "d_high"), float("nan"))
    bare = [replace(row, **nothing) for row in sweep.fits.frontier]
    assert "interval" not in legend_texts(plots.frontier(sweep.finished, bare, "n_params_matmul"))


def test_residuals_are_measured_minus_fitted_in_per_cent(sweep: Sweep, figures: dict[str, Figure]) -> None:
    fit, points = sweep.primary, sweep.finished
    assert fit is not None
    p = fit.params
    inner = p["A"] * points.n_params_matmul ** -p["alpha"] + p["B"] * points.n_tokens ** -p["beta"]
    expected = 100 * np.log(points.loss / (p["E"] + inner ** p["gamma"]))
    np.testing.assert_allclose(line(figures["residuals"], "joint")[:, 1], expected, rtol=1e-9, atol=1e-9)


def test_forecast_before_and_after_the_truth(sweep: Sweep, figures: dict[str, Figure]) -> None:
    assert sweep.forecast is not None
    assert len(figures["forecast"].axes) == 2
    sealed = plots.forecast_against_truth(sweep.forecast, None)
    assert len(sealed.axes) == 1
    assert sealed.axes[0].get_xlabel().startswith("training compute")


def test_rollout_rms_line_is_the_rms_of_its_points() -> None:
    row = RolloutRow("joint", 1e12, 9, 2.0, 1e6, "d16", 1e5, 3.0, 3.0, None, None, error=0.03)
    rows = [row, replace(row, error=-0.04)]
    drawn = line(plots.rollout(rows, "joint"), "joint, RMS")
    np.testing.assert_allclose(drawn, [[2.0, 100 * np.sqrt((0.03**2 + 0.04**2) / 2)]])


@pytest.mark.parametrize(
    ("value", "text"),
    [(500_000, "500k"), (1e6, "1M"), (16e6, "16M"), (1.5e9, "1.5B"), (128, "128"), (0.25, "0.25")],
)
def test_si(value: float, text: str) -> None:
    assert si(value) == text


@pytest.mark.parametrize(("value", "text"), [(1e12, "10¹²"), (3.2e12, "3.2×10¹²"), (5e-4, "5×10⁻⁴")])
def test_power_of_ten(value: float, text: str) -> None:
    assert power_of_ten(value) == text


def test_rungs_differ_in_colour_and_marker() -> None:
    styles = rung_styles([f"d{i}" for i in range(8)])
    assert len({colour for colour, _ in styles.values()}) == len({mark for _, mark in styles.values()}) == 8


@pytest.mark.parametrize("draw", [plots.loss_curves, plots.loss_against_compute])
def test_runs_without_a_point_are_left_out(sweep: Sweep, draw: Callable[[Any, Any], Figure]) -> None:
    stray = sweep.curves.head(5).assign(run_id="unfinished")
    with_stray = draw(sweep.finished, pd.concat([sweep.curves, stray]))
    assert len(with_stray.axes[0].lines) == len(draw(sweep.finished, sweep.curves).axes[0].lines)


def test_cloud_shows_every_resample_and_the_line_through_the_estimate(
    sweep: Sweep, figures: dict[str, Figure]
) -> None:
    fit, figure = sweep.primary, figures["cloud"]
    assert fit is not None
    np.testing.assert_allclose(line(figure, "one resample"), fit.cloud)
    alpha, beta = fit.params["alpha"], fit.params["beta"]
    through = line(figure, f"β/(α+β) = {beta / (alpha + beta):.3f},\nas estimated")
    np.testing.assert_allclose(through[:, 1] / through[:, 0], beta / alpha)
    lines = line(figure, "other values of it")
    shares = lines[:, 1] / (lines[:, 0] + lines[:, 1])
    names = [float(text.get_text()) for text in figure.axes[0].texts]
    np.testing.assert_allclose(shares[::2], names, atol=1e-9)


def test_cloud_draws_an_estimate_outside_its_percentiles(sweep: Sweep) -> None:
    """As few resamples of runs that hardly tell the law give."""
    fit = sweep.primary
    assert fit is not None
    alpha = fit.params["alpha"]
    for ends in ((alpha + 0.1, alpha + 0.3), (alpha - 0.3, alpha - 0.1)):
        figure = plots.cloud(replace(fit, interval=fit.interval | {"alpha": ends}))
        (bar, _) = next(each for each in figure.axes[0].containers if each.has_xerr).lines[2]
        ((first, last),) = bar.get_segments()
        assert sorted((first[0], last[0])) == pytest.approx(sorted((alpha, *ends))[::2])


def test_profiles_shade_the_values_below_the_cut(sweep: Sweep, figures: dict[str, Figure]) -> None:
    fit, figure = sweep.primary, figures["profile"]
    assert fit is not None
    assert [axes.get_xlabel()[0] for axes in figure.axes] == ["E", "α", "β"]
    for panel, entry in enumerate(fit.profile or ()):
        height = line(figure, "cut, 90 %", panel)[0, 1]
        curve = line(figure, "profile", panel)
        (shade,) = figure.axes[panel].patches
        inside = curve[curve[:, 1] <= height, 0]
        assert shade.get_extents().transformed(figure.axes[panel].transData.inverted()).x0 == pytest.approx(
            inside[0] if entry.interval[0] is None else entry.interval[0]
        )
        assert curve[:, 1].min() == pytest.approx(0, abs=0.1)
    assert figure.axes[0].get_title("left").startswith("90 %: open to ")


def test_a_profile_without_a_cut_says_so(sweep: Sweep) -> None:
    fit = sweep.primary
    assert fit is not None
    uncut = [replace(entry, cut=None, interval=(None, None)) for entry in fit.profile or ()]
    figure = plots.profiles(uncut)
    assert [axes.get_title("left") for axes in figure.axes] == ["no interval"] * 3
    assert "interval" not in legend_texts(figure)


def test_counting_draws_a_line_a_count_with_its_exponent(sweep: Sweep, figures: dict[str, Figure]) -> None:
    texts = legend_texts(figures["counting"])
    exact = {fit.count: fit.exponents for fit in sweep.chosen_under_each_count}
    for count, name in (("n_params", "all parameters"), ("n_params_body", "body parameters")):
        a, (low, high) = exact[count].a, exact[count].a_interval or (0.0, 0.0)
        label = f"{name}\na = {a:.3f} [{low:.3f}, {high:.3f}]"
        assert label in texts
        rows = [row for row in sweep.fits.frontier_by_count if row.count == count]
        np.testing.assert_allclose(line(figures["counting"], label)[:, 1], [row.n_opt for row in rows])
    assert len(figures["counting"].axes[0].collections) == 3


def test_counting_without_intervals_draws_lines_alone(sweep: Sweep) -> None:
    nothing = float("nan")
    bare = [replace(row, n_low=nothing, n_high=nothing) for row in sweep.fits.frontier_by_count]
    fits = [replace(fit, frontier_exact=ExponentsRecord(a=0.5)) for fit in sweep.chosen_under_each_count]
    assert not plots.counting(bare, fits).axes[0].collections


def test_what_a_study_lacks_leaves_its_figures_out(sweep: Sweep) -> None:
    bare = tuple(replace(fit, cloud=None, profile=None) for fit in sweep.fits.fits)
    less = replace(sweep, fits=replace(sweep.fits, fits=bare, frontier_by_count=()))
    assert set(draw_figures(less)) == NAMES - {"cloud", "profile", "counting"}


def test_a_figure_refuses_a_fit_of_another_kind(sweep: Sweep) -> None:
    law, line_fit = sweep.fits.fits[1], kaplan_fit("n_params_matmul")
    with pytest.raises(InputError, match="expected an IsoFLOP fit, got one by parametric"):
        plots.isoflop(sweep.finished, law)
    with pytest.raises(InputError, match="no bootstrap cloud"):
        plots.cloud(line_fit)
