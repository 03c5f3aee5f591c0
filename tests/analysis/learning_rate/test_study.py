"""Learning-rate sweeps: planted best rates and exponents come back, with intervals and plain words."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from analysis import plots
from analysis.learning_rate.curve import RateCurve, fit_parabola
from analysis.learning_rate.study import learning_rate_study, recipe_runs
from analysis.records.fits import read_study
from analysis.records.learning_rate import LearningRateRecord, RateGroup
from analysis.report.__main__ import main
from analysis.study.study import study_sweep
from analysis.tables.seed_noise import Noise
from harness.records.errors import InputError
from harness.records.number_text import in_percent, number
from harness.records.paths import SweepFolder
from harness.sweep.finish import print_conclusion
from tests.analysis.report.pages import text_of
from tests.analysis.report.test_report import Balance
from tests.fakes.rates import BEST, CURVATURE, RECIPE, rate, rate_sweep, write_rate_folder

KEPT = {"embed": RECIPE["embed"], "head": RECIPE["head"], "gain": RECIPE["gain"]}


def sweep(seed: int = 0, **options: Any) -> pd.DataFrame:
    return rate_sweep(np.random.default_rng(seed), **options)


def by_group(result: LearningRateRecord | None) -> dict[str, RateGroup]:
    assert result is not None
    return {entry.group: entry for entry in result.groups}


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_planted_rates_and_exponents_come_back(seeds: tuple[int, ...]) -> None:
    groups = by_group(learning_rate_study(sweep(noise=1e-4, seeds=seeds)))
    assert list(groups) == list(BEST)
    for group, entry in groups.items():
        assert all(row.interior and row.reason is None for row in entry.optima)
        for row in entry.optima:
            assert row.rate_opt == pytest.approx(rate(BEST[group], row.d_model), rel=0.01)
            assert row.half_width == pytest.approx(np.exp(np.sqrt(np.log(1.01) / CURVATURE)), rel=0.02)
        (rule,) = entry.rules
        best, recipe = BEST[group], RECIPE[group]
        assert (rule.rate_64, rule.exponent) == pytest.approx(best, rel=0.01, abs=0.005)
        assert (rule.recipe_rate_64, rule.recipe_exponent) == pytest.approx(recipe, abs=1e-9)


def test_cost_of_the_recipe_is_the_planted_one() -> None:
    entry = by_group(learning_rate_study(sweep(noise=1e-4)))["hidden"]
    for row in entry.optima:
        off = np.log(row.recipe_rate / rate(BEST["hidden"], row.d_model))
        assert row.recipe_cost_percent == pytest.approx(100 * np.expm1(CURVATURE * off**2), abs=0.01)
    assert "Higher rates are better (d48 ×1.3, d96 ×1.4)" in entry.verdict
    assert "d16" not in entry.verdict.split("Higher")[1]


def test_offsets_of_seeds_do_not_count_as_noise() -> None:
    """Seeds are 1 % apart in the simulation, runs of one seed .1 %."""
    entry = by_group(learning_rate_study(sweep(seeds=(0, 1, 2))))["hidden"]
    assert entry.noise.source == "residuals of the parabolas"
    assert entry.noise.sd_relative == pytest.approx(0.001, rel=0.4)
    assert entry.noise.dof == 3 * (15 - 5)
    assert {row.n_seeds for row in entry.optima} == {3}


def test_noise_can_be_given_and_is_assumed_where_nothing_tells() -> None:
    points = sweep(groups=("hidden", "embed"), widths=(16,), factors=(0.5, 1.0, 2.0))
    sources = {noise: learning_rate_study(points, noise=noise).groups[0].noise for noise in (None, 0.01)}
    assert sources[None].source == "assumed"
    assert sources[0.01].source == "given"
    assert sources[0.01].sd_relative == 0.01


@pytest.mark.parametrize(
    ("best", "edge", "move"), [(0.1, "highest", "try higher rates"), (0.0003, "lowest", "try lower rates")]
)
def test_an_optimum_at_an_edge_is_flagged_and_never_placed(best: float, edge: str, move: str) -> None:
    result = study_sweep(sweep(best=BEST | {"hidden": (best, -1.0)}))
    entry = by_group(result.learning_rate)["hidden"]
    for row in entry.optima:
        assert not row.interior
        assert row.edge == edge
        assert row.rate_opt is row.rate_interval is row.loss_opt is None
        assert row.recipe_cost_percent > 5
    assert entry.rules[0].exponent is None
    assert "interior at 0 of 3 sizes" in entry.verdict
    assert f"lowest at the {edge} rate tried" in entry.verdict
    assert move in entry.verdict
    warnings = {(warning.code, "hidden" in warning.message) for warning in result.warnings}
    assert warnings == {("edge_optimum", True), ("few_sizes", True)}


def test_rates_that_diverge_stop_the_search() -> None:
    points = sweep(best=BEST | {"hidden": (0.1, -1.0)})
    fast = points.hidden_lr > 3 * 0.006 * 64 / points.d_model
    points.loc[fast, ["loss", "status"]] = [np.nan, "diverged"]
    result = study_sweep(points)
    entry = by_group(result.learning_rate)["hidden"]
    assert [len(row.rates) for row in entry.optima] == [4, 4, 4]
    assert all(row.stopped and len(row.diverged) == 1 for row in entry.optima)
    assert "try rates between it and those that diverged" in entry.verdict
    assert {row.row for row in result.excluded} == set(np.flatnonzero(fast))
    assert {row.reason for row in result.excluded} == {"run diverged"}


def test_a_flat_curve_gives_no_rate() -> None:
    """Noise ten times what the rate changes: where a parabola has a minimum, it may not count."""
    rng, reasons = np.random.default_rng(0), []
    for _ in range(10):
        points = rate_sweep(rng, noise=0.1, groups=("hidden", "gain"))
        for entry in learning_rate_study(points).groups:
            reasons += [row.reason for row in entry.optima]
    assert "the loss changes no more with the rate than noise does" in reasons
    assert sum(reason is None for reason in reasons) <= 0.15 * len(reasons)


def test_intervals_of_optima_cover_the_truth() -> None:
    """90 % intervals under noise from three parabolas' residuals, 1200 optima."""
    rng, inside = np.random.default_rng(1), []
    x = np.log([0.25, 0.5, 1.0, 2.0, 4.0])
    for _ in range(400):
        losses = np.exp(CURVATURE * (x - 0.2) ** 2 + rng.normal(0, 0.005, (3, 5)))
        curves = [RateCurve("d16", 16, 1, 1, 1, 1.0, np.exp(x), loss, np.zeros(5, int)) for loss in losses]
        fitted = [fit_parabola(curve) for curve in curves]
        assert all(fitted)
        found = [parabola for parabola in fitted if parabola]
        dof = sum(parabola.dof for parabola in found)
        sd = np.sqrt(sum(parabola.sum_squares for parabola in found) / dof)
        intervals = [parabola.interval(Noise(sd, dof, "residuals"), 0.9) for parabola in found]
        inside += [low <= np.exp(0.2) <= high for low, high in filter(None, intervals)]
    assert len(inside) == 1200
    assert 0.88 <= np.mean(inside) <= 0.925


def test_intervals_of_exponents_cover_the_truth() -> None:
    """90 % intervals; wider where the three sizes scatter by chance, so they may cover more."""
    rng, inside = np.random.default_rng(1), []
    for _ in range(25):
        for entry in learning_rate_study(rate_sweep(rng, noise=0.004), level=0.9).groups:
            low, high = entry.rules[0].exponent_interval
            inside.append(low <= BEST[entry.group][1] <= high)
    assert 0.86 <= np.mean(inside) <= 0.99


def test_scatter_beyond_the_errors_widens_the_rule() -> None:
    points = sweep(noise=1e-4, widths=(16, 32, 48, 96))
    odd = points.d_model == 32
    points.loc[odd, "loss"] *= np.exp(0.02 * np.log(points.hidden_lr[odd] / 0.012))  # moves one optimum
    calm, moved = (
        by_group(learning_rate_study(frame))["hidden"].rules[0] for frame in (points[~odd], points)
    )
    assert moved.scatter > 5 > calm.scatter
    assert moved.exponent_se > 5 * calm.exponent_se


def test_a_group_that_was_not_swept_is_named() -> None:
    result = learning_rate_study(sweep(groups=("hidden", "embed")))
    assert list(by_group(result)) == ["hidden", "embed"]
    assert result.missing == ("head", "gain")
    assert result.verdict.endswith("Not swept: head, gain.")


def test_one_group_alone_takes_the_middle_rate_for_the_recipe() -> None:
    (entry,) = learning_rate_study(sweep(groups=("hidden",))).groups
    assert [row.recipe_rate for row in entry.optima] == pytest.approx([0.024, 0.008, 0.004])


def test_an_edge_within_the_noise_is_called_so() -> None:
    entry = learning_rate_study(sweep(widths=(16,), best=BEST | {"gain": (0.1, 0.0)}), noise=0.2).groups[-1]
    assert "(within the noise of single runs): try higher rates" in entry.verdict


def test_console_shows_a_table_for_each_group(root: Path) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    folder = SweepFolder(root)
    print_conclusion(console, folder, read_study(folder.fits))
    text = console.export_text()
    assert [f"best {group} rate" in text for group in BEST] == [True] * 4
    assert "N* ∝ C^a" not in text
    assert "the loss is lowest at the highest rate tried" in text


def test_one_size_gives_a_sentence_in_place_of_an_exponent() -> None:
    result = study_sweep(sweep(widths=(16,)))
    for entry in result.learning_rate.groups:
        (rule,) = entry.rules
        assert rule.exponent is None
        assert "no exponent in d_model: 1 of 1 sizes has an optimum" in rule.reason
        assert rule.reason in entry.verdict
    assert {warning.code for warning in result.warnings} == {"few_sizes"}


def test_token_counts_have_rules_of_their_own() -> None:
    points = sweep(noise=1e-4, n_tokens=(524_288, 2_097_152))
    later = points.n_tokens == 2_097_152
    ratio = points.hidden_lr[later] * points.d_model[later] / 0.384
    points.loc[later, "loss"] *= np.exp(0.02 * np.log(ratio))
    rules = by_group(learning_rate_study(points))["hidden"].rules
    assert [rule.n_tokens for rule in rules] == [524_288, 2_097_152]
    assert rules[1].rate_64 == pytest.approx(0.008 * np.exp(-0.02 / 2 / CURVATURE), rel=0.01)


def test_noise_between_seeds_is_that_of_the_recipe() -> None:
    points = sweep(seeds=(0, 1, 2))
    assert len(recipe_runs(points)) == 9
    assert [cell.n_seeds for cell in study_sweep(points).noise.cells] == [3, 3, 3]


def test_nothing_finished_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no run of this learning-rate sweep finished"):
        study_sweep(sweep().assign(status="failed"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reported sweep in which every kind of optimum occurs."""
    points = sweep(best=BEST | {"gain": (0.1, 0.0)}, n_tokens=(524_288, 1_048_576))
    folder = write_rate_folder(tmp_path_factory.mktemp("results") / "lr", points)
    assert main([str(folder.root)]) == 0
    return folder.root


def test_report_has_the_rates_and_no_law(root: Path) -> None:
    html = (root / "report.html").read_text()
    result = read_study(root / "fits.json")
    text = text_of(html)
    assert result.verdict in text
    assert "exponents, forecast, frontier, reference runs and adequacy do not apply" in text
    for absent in ("exponents", "forecast", "frontier", "reference", "adequacy", "figures"):
        assert f'id="{absent}"' not in html
    table = html[html.index('id="learning-rates"') : html.index("Best rate against width")]
    assert table.count("<tr><td") == sum(len(entry.optima) for entry in result.learning_rate.groups)
    assert "the loss is lowest at the highest rate tried" in text
    assert "Excluded rows None." in text


def test_the_lead_of_the_report_is_a_table_of_rates(root: Path) -> None:
    html = (root / "report.html").read_text()
    part = html[html.index('<section class="lead">') : html.index('id="warnings"')]
    rates = read_study(root / "fits.json").learning_rate
    assert rates is not None
    rows = part.split("<tbody>")[1].split("</tr>")[:-1]
    assert len(rows) == len(rates.groups)
    for row, group in zip(rows, rates.groups, strict=True):
        cells = [text_of(cell) for cell in re.findall(r"<td[^>]*>.*?</td>", row, flags=re.DOTALL)]
        assert cells[0] == group.group
        assert cells[1] == number(group.rule.rate_64, 4)
        assert cells[4] == number(group.rule.exponent, 2)
        worst = max(cost for row in group.optima if (cost := row.recipe_cost_percent) is not None)
        assert cells[7].startswith(in_percent(worst))


def test_report_is_well_formed(root: Path) -> None:
    html = (root / "report.html").read_text()
    parser = Balance()
    parser.feed(html)
    assert parser.wrong == []
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<a href="#([^"]+)"', html)) <= set(ids)
    names = re.findall(r'<figure id="figure-(\w+)"', html)
    assert names == [f"learning_rate_{group}" for group in BEST]
    assert {path.stem for path in (root / "figures").iterdir()} == set(names)


def test_figure_marks_minima_and_the_recipe() -> None:
    entry = by_group(learning_rate_study(sweep()))["hidden"]
    (axes,) = plots.learning_rate(entry).axes
    drawn = {
        label: [line for line in axes.lines if line.get_label() == label] for label in ("minimum", "recipe")
    }
    for label, column in (("minimum", "rate_opt"), ("recipe", "recipe_rate")):
        places = [float(np.asarray(line.get_xdata())[0]) for line in drawn[label]]
        assert places == pytest.approx([getattr(row, column) for row in entry.optima])
