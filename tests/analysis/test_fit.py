"""Parametric fits: published numbers, invariances, JSON, command line, bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.everything import APPROACHES, fit_approach
from analysis.approaches.parametric import estimate, fit_law, jackknife
from analysis.fit import main
from analysis.intervals import percentile_interval
from analysis.records.warning_codes import WarningCode
from analysis.result import Fit
from harness.records.errors import InputError
from harness.records.json_files import plain, to_json
from harness.records.number_text import si
from tests.fakes.surfaces import CHINCHILLA, foreign_table, isoflop_frame
from tests.fakes.tables import additive, joint, ladder

KEYS = [
    "law", "approach", "estimator", "count", "nobs", "n_clusters", "params", "se", "interval", "level",
    "objective", "status", "frontier", "warnings", "excluded", "seconds",
]  # fmt: skip


def test_json_has_exactly_the_promised_keys_first() -> None:
    fit = fit_law(ladder(additive, np.random.default_rng(0)), resamples=50)
    found = to_json(fit.to_record())
    assert list(found)[: len(KEYS)] == KEYS
    assert (
        set(found["params"]) == set(found["se"]) == set(found["interval"]) == {"E", "A", "B", "alpha", "beta"}
    )
    assert set(found["frontier"]) == {"a", "a_interval", "b", "b_interval", "G"}
    assert found["frontier"]["a"] + found["frontier"]["b"] == pytest.approx(1)
    json.dumps(found, allow_nan=False)


def test_result_speaks_like_statsmodels() -> None:
    table = ladder(additive, np.random.default_rng(0))
    fit = fit_law(table, resamples=80, level=0.9)
    assert fit.cov is not None
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov)), fit.bse)
    np.testing.assert_allclose(np.log(table.loss) - np.log(fit.predict(table.n, table.d)), fit.resid)
    narrow, wide = fit.conf_int(0.5).loc["alpha"], fit.conf_int().loc["alpha"]
    assert list(narrow.index) == ["low", "high"]
    assert wide.low < narrow.low < fit.params["alpha"] < narrow.high < wide.high
    assert dict(fit.params) == dict(fit.estimates)
    pd.testing.assert_index_equal(fit.bse.index, fit.params.index)
    text = fit.summary()
    assert "90 % percentile bootstrap" in text
    assert f"{fit.params['alpha']:.6g}" in text


def test_without_bootstrap_there_are_no_intervals() -> None:
    fit = fit_law(ladder(additive, np.random.default_rng(0)), resamples=0)
    assert (fit.errors(), fit.intervals(), fit.cov, fit.frontier.a_interval) == ({}, {}, None, None)
    assert fit.bse.isna().all()
    with pytest.raises(InputError, match=r"fit_law\(\.\.\., resamples=1000\)"):
        fit.conf_int()
    said = [line for line in fit.summary().splitlines() if not line.startswith("warning ")]
    assert "interval" not in "".join(said)
    assert "interval" not in fit._repr_html_()


def test_texts_state_intervals_and_no_standard_errors() -> None:
    """Three stray resamples of 400 make a standard deviation without meaning; the interval stays."""
    draws = np.random.default_rng(0).normal([1.7, 2700.0], [0.1, 600.0], (400, 2))
    draws[:3, 1] = 2e5
    fit = Fit(
        "kaplan_n_offset", "parametric", "huber", "N", 40, 40, {"E": 1.7, "A": 2700.0}, 0.9, samples=draws
    )
    assert set(fit.errors()) == set(to_json(fit.to_record())["se"]) == {"E"}
    assert fit.bse.isna().tolist() == [False, True]
    assert fit.conf_int().notna().all(axis=None)
    for text in (fit.summary(), fit._repr_html_()):
        assert not re.search(r"\bse\b", text)


def test_plain_turns_numbers_that_do_not_exist_into_null() -> None:
    assert plain({"x": np.float64("nan"), "y": (np.int64(2), np.bool_(True))}) == {"x": None, "y": [2, True]}


def test_percentile_interval_is_central() -> None:
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def test_jackknife_names_rungs() -> None:
    table = ladder(joint, np.random.default_rng(0))
    found = jackknife(table, "joint_e0")
    assert [row.left_out for row in found.a] == ["d16", "d24", "d32", "d48", "d64", "d96"]
    values = np.array([row.a for row in found.a])
    assert found.a_se == pytest.approx(np.sqrt(5 / 6 * np.sum((values - values.mean()) ** 2)))
    assert 0 < found.a_se < 0.1
    few = table.select(np.isin(table.n, np.unique(table.n)[:3]))
    unnamed = jackknife(replace(few, n=few.n * 1234.5, rung=None), "joint_e0")
    assert [row.left_out for row in unnamed.a] == [si(size * 1234.5) for size in np.unique(few.n)]


def write(tmp_path: Path, **columns: object) -> Path:
    path = tmp_path / "t.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def grid_columns(loss: float | None = None) -> dict[str, np.ndarray]:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 1e10, 4)))
    return {"N": n, "D": d, "loss": additive(n / 20, d / 30) if loss is None else np.full(len(n), loss)}


NAMED = ["--law", "chinchilla"]  # without a named law such runs get Kaplan's
BAD_TABLES = {
    "three rows": ({k: v[:3] for k, v in grid_columns().items()}, NAMED, "3 rows for the 5 parameters"),
    "one size": ({**grid_columns(), "N": np.full(20, 1e6)}, NAMED, "at least two sizes N, the table has 1"),
    "one token count": ({**grid_columns(), "D": np.full(20, 1e6)}, NAMED, "at least two token counts D"),
    "equal losses": (
        grid_columns(3.0),
        [],
        r"all 20 losses equal 3: check the column of the loss \(--loss\)$",
    ),
    "missing column": ({"N": [1], "D": [2]}, [], "no column 'loss' for loss.*'N', 'D'"),
    "unknown law": (grid_columns(), ["--law", "joynt"], r"did you mean joint.* \(--law\)$"),
    "map without =": (grid_columns(), ["--map", "N"], "without '='"),
    "level": (grid_columns(), ["--level", "95"], "expected a share between 0 and 1"),
    "resamples": (grid_columns(), ["--resamples", "-1"], "expected a whole number from 0 to"),
    "two rows, all": (
        {k: v[:2] for k, v in grid_columns().items()},
        ["--approach", "all"],
        "no approach can be fitted to this table: every run was trained on 1e\\+08 tokens",
    ),
    "equal losses, all": (grid_columns(3.0), ["--approach", "all"], "all 20 losses equal 3"),
    "unknown law, all": (grid_columns(), ["--approach", "all", "--law", "joynt"], "did you mean joint"),
    "unknown estimator, all": (grid_columns(), ["--approach", "all", "--estimator", "mean"], "no estimator"),
    "several N": (
        grid_columns(),
        ["--map", "N=N|D"],
        "several columns for N, N|D: type one, or --approach all",
    ),
    "N in billions": (
        {**grid_columns(), "N": grid_columns()["N"] / 1e9},
        [],
        r"give the scale N=1e9.* \(--scale, --map\)$",
    ),
    "scale of nothing": (
        grid_columns(),
        ["--scale", "N=big"],
        "N=big: expected a positive number such as N=1e9",
    ),
    "scale of zero": (grid_columns(), ["--scale", "N=0"], "expected a positive number"),
    "scale of the loss": (grid_columns(), ["--scale", "loss=2"], r"called loss: use N, D or C \(--scale\)$"),
    "where nothing is": (grid_columns(), ["--where", "N=7"], r"no row with N = 7: .* \(--where\)$"),
    "where without =": (grid_columns(), ["--where", "N"], "--where has 'N' without '='"),
    "weights of zero": ({**grid_columns(), "w": 0.0}, ["--map", "weight=w"], "w is 0 in every row"),
    "json folder": (grid_columns(), ["--resamples", "0", "--json", "/proc/none/x.json"], "cannot write"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_input_is_one_sentence_and_exit_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns, options, message = BAD_TABLES[case]
    assert main([str(write(tmp_path, **columns)), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message.replace("|", r"\|"), error), error


def test_command_writes_json_and_keeps_excluded_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = grid_columns()
    columns["loss"] = columns["loss"].copy()
    columns["loss"][[3, 8]] = [-1, np.nan]
    out = tmp_path / "fit.json"
    assert main([str(write(tmp_path, **columns)), "--resamples", "30", "--json", str(out)]) == 0
    written = json.loads(out.read_text())
    assert [row["row"] for row in written["excluded"]] == [3, 8]
    assert written["nobs"] == 18
    assert "2 rows excluded" in capsys.readouterr().out


def test_approaches_are_dispatched_by_name() -> None:
    table = foreign_table(isoflop_frame(CHINCHILLA, np.geomspace(1e18, 1e20, 5)))
    options = {"level": 0.8, "resamples": 0, "seed": 5}
    for approach in APPROACHES:
        fits = fit_approach(table, approach, "chinchilla", "huber", **options)  # type: ignore[arg-type]
        assert {(fit.approach, fit.level) for fit in fits} == {(approach, 0.8)}
    with pytest.raises(InputError, match="expected one of parametric, isoflop"):
        fit_approach(table, "guess", "chinchilla", "huber", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "value"), [("estimator", "mean"), ("delta", 0.0)])
def test_wrong_options_of_the_function(option: str, value: object) -> None:
    with pytest.raises(InputError, match=r"there is no estimator|delta is 0"):
        fit_law(ladder(additive, np.random.default_rng(0)), **{option: value})


def test_extreme_rows_hardly_move_a_huber_fit() -> None:
    table = ladder(additive, np.random.default_rng(0))
    spoiled = replace(table, loss=np.where(np.arange(len(table)) == 9, table.loss * 1.5, table.loss))
    huber, squares = (fit_law(spoiled, estimator=e, resamples=0).params["alpha"] for e in ("huber", "lsq"))
    clean = estimate(table, "chinchilla")[3]
    assert abs(huber - clean) < 0.2 * abs(squares - clean)


def test_warning_codes_are_stable() -> None:
    assert {code.value for code in WarningCode} >= {
        "flat_valley", "ill_conditioned", "active_bound", "collinear", "e_not_bracketed", "few_sizes",
        "few_tokens", "few_starts_agree", "few_clusters", "extrapolation", "routes_disagree", "lack_of_fit",
    }  # fmt: skip


def test_flops_far_from_six_n_d_are_a_warning_of_every_fit(tmp_path: Path) -> None:
    columns = grid_columns()
    path = write(tmp_path, **columns, flops=25 * columns["N"] * columns["D"])
    for approach in ("parametric", "envelope"):
        out = tmp_path / f"{approach}.json"
        arguments = [str(path), "--approach", approach, "--resamples", "0", "--json", str(out)]
        assert main([*arguments, "--map", "C=flops"]) == 0
        written = json.loads(out.read_text())
        for fit in written if isinstance(written, list) else [written]:
            assert [w["code"] for w in fit["warnings"]].count("flops_apart") == 1
            assert "C is 4.2 times 6·N·D in every row" in str(fit["warnings"])
        assert main([*arguments, "--map", "C="]) == 0
        assert "flops_apart" not in out.read_text()


def test_a_table_in_units_is_fitted_in_parameters_and_tokens(tmp_path: Path) -> None:
    columns, found = grid_columns(), []
    for name, unit in (("plain", 1.0), ("units", 1e9)):
        (tmp_path / name).mkdir()
        path = write(tmp_path / name, **{**columns, "N": columns["N"] / unit})
        out = tmp_path / f"{name}.json"
        assert main([str(path), "--scale", f"N={unit:g}", "--resamples", "0", "--json", str(out)]) == 0
        found.append(json.loads(out.read_text())["params"])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_the_kind_of_bootstrap_is_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, **grid_columns())
    assert main([str(path), "--resamples", "50", "--bootstrap", "residual"]) == 0
    assert "percentile bootstrap over residuals" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bootstrap", "wild"], "there is no bootstrap 'wild': use one of cluster, residual (--bootstrap)"),
        (
            ["--bootstrap", "residual", "--approach", "isoflop"],
            "belongs to --approach parametric, got isoflop",
        ),
    ],
)
def test_a_wrong_bootstrap_is_one_sentence(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path, **grid_columns())), *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("approach", ["parametric", "all"])
def test_progress_goes_to_a_terminal_alone(
    approach: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["notebooks/losses.csv", "--map", "N=params,D=tokens,loss=val_loss", "--resamples", "0"]
    if approach == "parametric":
        assert main(command) == 0
        assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main([*command, "--approach", approach]) == 0
    said = capsys.readouterr().err.splitlines()
    assert re.match(r" +\d+ s  (chinchilla on|the contest of) ", said[0])
    assert (len(said) == 1) == (approach == "parametric")
