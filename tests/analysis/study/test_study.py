"""The study of a sweep's tables: contents, choices, words, and what happens with too little data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.parametric import fit_law
from analysis.contest.adequacy import CANDIDATES
from analysis.forecast.seal import seal_forecast, sealed
from analysis.laws import family
from analysis.learning_rate.schedules import compare_schedules
from analysis.records.fit import COUNTS, FitRecord
from analysis.records.fits import (
    JackknifeRecord,
    JackknifeRow,
    NoiseRecord,
    PrimaryRecord,
    StudyRecord,
    TrendRecord,
    read_study,
)
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.study.study import study_sweep, with_uncertainty
from analysis.study.words import verdict
from analysis.tables.seed_noise import noise_report
from analysis.tables.table import load_table
from harness.records.errors import InputError
from harness.records.json_files import write_record
from tests.fakes.surfaces import SMALL_JOINT, sweep_curves, sweep_points

pytestmark = pytest.mark.usefixtures("few_starts")

DOUBT = FitWarning(WarningCode.COUNTS_DISAGREE, "a = 0.5 against 0.6")


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return sweep_points(SMALL_JOINT)


@pytest.fixture(scope="module")
def result(points: pd.DataFrame) -> StudyRecord:
    """A sweep whose truth is the joint law, with a forecast sealed before the hold-out."""
    held = points.role == "holdout"
    sealed = seal_forecast(points[points.role == "fit"], points[held], code_revision="0" * 40, resamples=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.study.study.disagreements", lambda *_: [DOUBT])
        return study_sweep(points, sweep_curves(SMALL_JOINT, points), sealed, resamples=60)


@pytest.fixture
def one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies under one count of parameters, in a third of the time."""
    monkeypatch.setattr("analysis.study.study.COUNTS", COUNTS[:1])


@pytest.fixture(scope="module")
def quoted(result: StudyRecord) -> FitRecord:
    assert result.quoted is not None
    return result.quoted


def test_the_file_holds_the_study(result: StudyRecord, tmp_path: Path) -> None:
    write_record(tmp_path / "fits.json", result)
    assert read_study(tmp_path / "fits.json") == result


def test_every_approach_under_every_count(result: StudyRecord) -> None:
    found = {(fit.approach, fit.count) for fit in result.fits}
    assert found == {
        (approach, count) for approach in ("parametric", "isoflop", "envelope", "kaplan") for count in COUNTS
    }
    sources = {fit.envelope.source for fit in result.fits if fit.envelope}
    assert sources == {"end points", "training curves"}


def test_the_form_that_holds_is_chosen_and_recommended(result: StudyRecord, quoted: FitRecord) -> None:
    assert result.primary is not None
    assert result.primary.law == "joint"
    assert (quoted.approach, quoted.law, quoted.count) == ("parametric", "joint", "n_params_matmul")
    assert [row.law for row in result.contest if row.chosen] == ["joint"]
    assert quoted.frontier_exact is not None
    low, high = quoted.frontier_exact.a_interval or (1.0, 0.0)
    assert low <= 0.52 <= high
    trends = {law: {trend.axis: trend.p for trend in test.structure} for law, test in result.adequacy.items()}
    assert min(trends["joint"].values()) > 0.05
    assert trends["chinchilla"]["N×D"] < 1e-4


def test_reference_runs_are_excluded_and_holdout_runs_fitted(
    result: StudyRecord, quoted: FitRecord, points: pd.DataFrame
) -> None:
    assert {row.row for row in result.excluded} == set(np.flatnonzero(points.role == "reference"))
    assert {row.reason for row in result.excluded} == {"reference run"}
    assert quoted.nobs == points.role.isin(["fit", "holdout"]).sum()


def test_frontier_is_ordered_and_covers_the_truth(result: StudyRecord) -> None:
    for row in result.frontier:
        assert row.n_low <= row.n_opt <= row.n_high
        assert row.flat_low < row.n_opt < row.flat_high
        true_loss = float(SMALL_JOINT.loss(row.n_opt, row.d_opt)[0])
        assert row.loss_low <= true_loss <= row.loss_high
    losses = [row.loss for row in result.frontier]
    assert losses == sorted(losses, reverse=True)


def test_best_sizes_under_every_count(result: StudyRecord) -> None:
    rows = result.frontier_by_count
    assert list(dict.fromkeys(row.count for row in rows)) == list(COUNTS)
    assert all(row.n_low <= row.n_opt <= row.n_high for row in rows)
    assert result.primary is not None
    primary = [row.n_opt for row in rows if row.count == result.primary.count]
    # One is the median over the laws, the other the estimate of the chosen law.
    assert primary == pytest.approx([row.n_opt for row in result.frontier], rel=0.1)


def test_the_recommended_fit_carries_its_cloud_and_its_profiles(
    result: StudyRecord, quoted: FitRecord
) -> None:
    assert [entry.parameter for entry in quoted.profile or ()] == ["E", "alpha", "beta", "gamma"]
    assert all(entry.level == quoted.level for entry in quoted.profile or ())
    cloud = np.array(quoted.cloud)
    assert cloud.shape == (60, 2)
    for column, name in enumerate(("alpha", "beta")):
        low, high = quoted.interval[name]
        assert 0.85 <= np.mean((cloud[:, column] >= low - 1e-5) & (cloud[:, column] <= high + 1e-5)) <= 0.95
    others = [fit for fit in result.fits if fit is not quoted]
    assert not any(fit.cloud or fit.profile for fit in others)


def test_a_large_bootstrap_is_thinned(points: pd.DataFrame) -> None:
    table = load_table(points)
    fit = fit_law(table, "tied", resamples=50)
    assert with_uncertainty(fit, table, resamples=0, seed=0).cloud is None
    fit = fit_law(table, "chinchilla", resamples=250)
    cloud = with_uncertainty(fit, table, resamples=0, seed=0).cloud
    assert cloud is not None
    assert len(cloud) == 200
    assert fit.samples is not None
    assert list(cloud[-1]) == fit.samples[-1, [3, 4]].round(5).tolist()


def test_disagreements_travel_with_the_recommended_fit_and_the_whole(
    result: StudyRecord, quoted: FitRecord
) -> None:
    assert DOUBT in quoted.warnings
    assert DOUBT in result.warnings


def test_rollout_rows_name_their_rungs(result: StudyRecord) -> None:
    assert {family(row.law) for row in result.rollout} == set(CANDIDATES)
    assert all(row.factor > 1 and (row.rung or "").startswith("d") for row in result.rollout)


def test_verdict_names_both_laws_and_their_errors(result: StudyRecord) -> None:
    score = result.forecast
    assert score is not None
    additive = next(row for row in score.losers if row.law == "chinchilla")
    assert (additive.rms_percent or 0) > 3 * (score.rms_percent or 1)
    for words in (
        "The joint law, L =",
        f"{score.rms_percent:.2g} % RMS",
        f"additive (Chinchilla) law {additive.rms_percent:.2g} %",
        "E is not identified",
    ):
        assert words in result.verdict


def joint_with(result: StudyRecord, **values: Any) -> StudyRecord:
    """The study with another test of the joint law."""
    return replace(result, adequacy={**result.adequacy, "joint": replace(result.adequacy["joint"], **values)})


CHANGES: dict[str, Callable[[StudyRecord], StudyRecord]] = {
    "No loss law could be fitted": lambda study: replace(study, recommended=None),
    "best but not fully: it leaves more unexplained": lambda study: joint_with(study, lack_of_fit_p=1e-5),
    "still follows D/N": lambda study: joint_with(study, structure=(TrendRecord("D/N", 1e-6, 0.5),)),
    "without runs repeated with other seeds": lambda study: joint_with(study, seed_sd=None),
    "Fitted to the cheaper runs only, the joint law missed the dearer ones by": lambda study: replace(
        study, forecast=None
    ),
    "seal is broken": lambda study: replace(
        study, forecast=study.forecast and replace(study.forecast, seal_intact=False)
    ),
    "as far as from 0.30 without d16 to 0.70 without d96": lambda study: replace(
        study, jackknife=JackknifeRecord((JackknifeRow("d96", 0.7), JackknifeRow("d16", 0.3)), 0.5)
    ),
    "no size could be left out to check it": lambda study: replace(study, jackknife=JackknifeRecord()),
}


@pytest.mark.parametrize("words", CHANGES)
def test_verdict_changes_with_the_findings(result: StudyRecord, words: str) -> None:
    assert words not in result.verdict
    assert words in verdict(CHANGES[words](result))


def test_verdict_on_the_irreducible_loss(result: StudyRecord, quoted: FitRecord) -> None:
    doubt = FitWarning(WarningCode.E_NOT_BRACKETED, "")
    (found, *_) = result.averages
    for agree, warnings, words in (
        (True, (), "The irreducible loss E is "),
        (True, (doubt,), "Do not quote the irreducible loss E"),
        (False, (), "E is not identified"),
    ):
        alone = replace(
            result,
            fits=(replace(quoted, warnings=warnings),),
            recommended=0,
            averages=(replace(found, agree=agree),),
        )
        assert words in verdict(alone)


def test_the_floor_of_a_known_source_stands_beside_the_interval(result: StudyRecord) -> None:
    (found, *_) = result.averages
    for floor, words in (
        (found.value, "which the interval holds"),
        (found.high + 1, "lies below it"),
    ):
        assert words in verdict(replace(result, floor=floor))
    assert result.forecast is not None
    gap = min(cell.loss for cell in result.forecast.cells) - found.low + 0.1
    said = verdict(replace(result, floor=found.low - 0.1))
    assert f"(the lowest loss is {gap:.2f} above it). In simulations of such a source E comes right" in said
    lowest = min(cell.loss for cell in result.forecast.cells)
    near = replace(result, floor=lowest - 0.1, averages=(replace(found, low=0.1, high=lowest - 0.2),))
    assert "lies below it, although the lowest loss is 0.10 above it" in verdict(near)


def two_sizes(points: pd.DataFrame) -> pd.DataFrame:
    few = points[points.d_model.isin([16, 32]) & (points.n_tokens <= 2_000_000)]
    return few[few.role == "fit"].reset_index(drop=True)


@pytest.mark.usefixtures("one_count")
def test_a_law_that_all_runs_exclude_is_the_first_warning(
    points: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = FitWarning(WarningCode.LAW_EXCLUDED, "said by excluded_warning")
    monkeypatch.setattr("analysis.study.study.excluded_warning", lambda _: [doubt])
    assert study_sweep(two_sizes(points), resamples=20).warnings[0] == doubt


@pytest.mark.usefixtures("one_count")
def test_the_sealed_law_stays_primary(points: pd.DataFrame) -> None:
    held = points.role == "holdout"
    sealed = seal_forecast(points[points.role == "fit"], points[held], laws=["joint"], resamples=0)
    found = study_sweep(two_sizes(points), None, sealed, resamples=20)
    assert found.primary == PrimaryRecord("joint", "n_params_matmul", sealed.rule)
    assert found.forecast is None
    assert study_sweep(two_sizes(points), resamples=20).primary.law == "chinchilla"


@pytest.mark.usefixtures("one_count")
def test_of_several_forecasts_the_first_whose_cells_are_finished_gives_the_law(points: pd.DataFrame) -> None:
    few, held = two_sizes(points), points.role == "holdout"
    early = seal_forecast(points[points.role == "fit"], points[held], laws=["joint"], resamples=0)
    row = few.iloc[-1]
    cell = replace(early.cells[0], n_params=int(row.n_params_matmul), n_tokens=int(row.n_tokens))
    late = sealed(replace(early, law="chinchilla", cells=(cell,)))
    found = study_sweep(few, None, [early, late], resamples=20)
    assert found.primary is not None
    assert found.primary.law == "chinchilla"
    assert [score.sha256 for score in found.scores] == [early.sha256, late.sha256]
    assert found.forecast == found.scores[1]
    assert found.scores[0].cells == ()


def test_too_little_data_ends_in_warnings_and_words(points: pd.DataFrame) -> None:
    found = study_sweep(two_sizes(points), None, None, resamples=20)
    assert found.recommended is None
    assert found.frontier == ()
    assert "No loss law could be fitted" in found.verdict
    messages = [warning.message for warning in found.warnings]
    (isoflop,) = (message for message in messages if message.startswith("IsoFLOP with"))
    assert isoflop.startswith(
        "IsoFLOP with N = n_params_matmul or N = n_params or N = n_params_body is not p"
    )
    assert len(messages) == len(set(messages))


@pytest.mark.usefixtures("one_count")
def test_no_row_is_recommended_on_few_cells(points: pd.DataFrame, result: StudyRecord) -> None:
    """A sweep of few cells has a law that the rule chose, and says why it is not to be quoted."""
    assert result.objection is None
    few = points[points.d_model.isin([16, 32, 48]) & (points.role == "fit") & (points.seed == 0)]
    few = few[few.n_tokens.isin(sorted(few.n_tokens.unique())[:3])].reset_index(drop=True)
    found = study_sweep(few, resamples=20)
    assert found.recommended is not None
    assert found.objection is not None
    assert f"{len(few)} cells are few for" in found.objection
    assert "what would change that: " in found.objection
    assert found.verdict.endswith(f"None of these numbers is to be quoted: {found.objection}.")


def test_no_finished_run_is_an_input_error(points: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="run failed"):
        study_sweep(points.assign(status="failed"))


def test_noise_is_pooled_over_cells(points: pd.DataFrame) -> None:
    fitted = points[points.role.isin(["fit", "holdout"])]
    noise = noise_report(fitted)
    assert [(cell.rung, cell.n_seeds) for cell in noise.cells] == [("d16", 3), ("d48", 3)]
    sds = np.array([cell.sd_relative for cell in noise.cells])
    assert noise.pooled_relative == pytest.approx(np.sqrt(np.mean(sds**2)), rel=0.01)
    assert noise_report(fitted[fitted.seed == 0]) == NoiseRecord()


def test_schedules_are_compared_at_the_best_cosine_rate(points: pd.DataFrame) -> None:
    rows, warnings = compare_schedules(points, 0.003)
    assert warnings == []
    assert [(row.rung, row.lr_scale, row.n_seeds) for row in rows] == [
        ("d16", 1.0, 3),
        ("d48", 1.0, 3),
    ]
    for row in rows:
        assert row.difference / row.cosine_loss == pytest.approx(-0.01, abs=4 * 0.003)
        assert row.se == pytest.approx(0.003 * row.wsd_loss * np.sqrt(2 / 3), rel=0.02)


def test_a_cosine_rate_at_the_end_of_its_sweep_is_a_warning(points: pd.DataFrame) -> None:
    lowest = points[(points.role != "reference") | (points.hidden_lr < 1.5 * 0.006 * 64 / points.d_model)]
    rows, warnings = compare_schedules(lowest, None)
    assert [row.se for row in rows] == [None, None]
    assert [warning.code.value for warning in warnings] == ["edge_optimum"] * 2
    assert "at the end of the 2 rates tried" in warnings[0].message


@pytest.mark.parametrize(
    ("column", "law", "other"),
    [("n_tokens", "kaplan_n", "size N"), ("rung", "kaplan_d", "training tokens D")],
)
def test_runs_along_one_axis_get_one_law_one_warning_and_no_frontier(
    points: pd.DataFrame, column: str, law: str, other: str
) -> None:
    fitted = points[points.role == "fit"]
    most = fitted[column].value_counts().index[0]
    found = study_sweep(fitted[fitted[column] == most].reset_index(drop=True), resamples=20)
    assert [warning.code for warning in found.warnings] == ["one_axis"]
    assert {fit.law for fit in found.fits} == {law, f"{law}_offset"}
    assert (found.primary, found.frontier, found.contest) == (None, (), ())
    assert f"how the loss falls with {other}" in found.verdict
    with_offset = next(fit for fit in found.fits if fit.law == f"{law}_offset")
    assert all(f"{name} = {value:.3g}" in found.verdict for name, value in with_offset.params.items())


def test_two_sizes_at_one_token_count_are_said_to_be_too_few(points: pd.DataFrame) -> None:
    few = points[(points.role == "fit") & points.d_model.isin([16, 32])]
    found = study_sweep(few[few.n_tokens == few.n_tokens.min()].reset_index(drop=True), resamples=20)
    assert found.fits == ()
    (warning,) = found.warnings
    assert warning.code == "one_axis"
    assert "other axis needs three values" in warning.message
