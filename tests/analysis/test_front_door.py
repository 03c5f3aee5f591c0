"""`import analysis as sl`: the names, what they accept, and what they answer."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis as sl
from analysis.records.warning_codes import FitWarning, WarningCode
from tests import ROOT
from tests.fakes.tables import additive, ladder

pytestmark = pytest.mark.usefixtures("few_starts")

NAMES = [
    "LAWS",
    "Fit",
    "FitWarning",
    "InputError",
    "Law",
    "LossTable",
    "__version__",
    "compare_approaches",
    "compare_arms",
    "expected_errors",
    "figures",
    "find_frontier",
    "fit_envelope",
    "fit_isoflop",
    "fit_kaplan",
    "fit_law",
    "forecast_curve",
    "judge_jumps",
    "load_table",
    "optimal_allocation",
    "profile",
    "read_sweep",
    "score_forecast",
    "seal_forecast",
    "study_replications",
    "study_sweep",
]
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(sl, name))]
# After these every argument is an option, and options go by keyword.
SUBJECTS = {
    "source", "table", "law", "fit", "flops", "parameter", "points", "cells", "curves", "forecast", "found",
    "folder", "first", "second",
}  # fmt: skip
N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
RUNS = pd.DataFrame({"N": N, "D": D, "loss": 1.7 + 400 * N**-0.34 + 410 * D**-0.28})


def law(**changes: Any) -> sl.Fit:
    """A fit without a bootstrap, made by hand."""
    estimates = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
    fit = sl.Fit("chinchilla", "parametric", "huber", "N", 20, 20, estimates, 0.9)
    return replace(fit, **changes)


def test_public_names() -> None:
    """A name that goes, or a new one, is a change of the public API: change this list with it."""
    assert sl.__all__ == NAMES
    assert set(NAMES) <= set(dir(sl))
    with pytest.raises(AttributeError, match="no attribute 'fit_lw'"):
        _ = sl.fit_lw  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(sl.__file__).read_text())
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guard.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname or alias.name for node in imports for alias in node.names}
    assert seen | {"__version__"} == set(NAMES)
    for package in ("analysis", "harness"):
        assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_are_documented(name: str) -> None:
    function = getattr(sl, name)
    text = inspect.getdoc(function) or ""
    assert all(section in text for section in ("Args:", "Returns:", "Raises:", "Examples:", ">>> "))
    parameters = inspect.signature(function).parameters.values()
    positional = {p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY}
    assert positional <= SUBJECTS
    assert [p.name for p in parameters if f"{p.name}:" not in text] == []


def test_a_table_is_a_frame_a_path_or_a_loss_table(tmp_path: Path) -> None:
    foreign = RUNS.rename(columns={"N": "size", "D": "tokens", "loss": "val"})
    foreign.to_csv(tmp_path / "runs.csv", index=False)
    mapping = {"N": "size", "D": "tokens", "loss": "val"}
    fits = [
        sl.fit_law(RUNS, resamples=0),
        sl.fit_law(sl.load_table(RUNS), resamples=0),
        sl.fit_law(foreign, mapping=mapping, resamples=0),
        sl.fit_law(str(tmp_path / "runs.csv"), mapping=mapping, resamples=0),
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.params, fits[0].params, rtol=1e-9)
    with pytest.raises(sl.InputError, match="give the mapping to load_table"):
        sl.fit_law(sl.load_table(RUNS), mapping=mapping)


def test_a_fit_shows_itself() -> None:
    fit = law(warnings=(FitWarning(WarningCode.FLAT_VALLEY, "equal <exponents> fit"),))
    assert repr(fit) == (
        "Fit(chinchilla, parametric, N = N, 20 rows, E = 1.7, alpha = 0.34, beta = 0.28, 1 warning)"
    )
    html = fit._repr_html_()
    assert "&lt;exponents&gt;" in html
    assert "low" not in html
    sampled = law(samples=np.abs(np.random.default_rng(0).normal(1, 0.1, (50, 5))))
    assert "90 % intervals" in sampled._repr_html_()
    assert list(sampled.conf_int().columns) == ["low", "high"]
    with pytest.raises(sl.InputError, match="expected a share between 0 and 1"):
        sampled.conf_int(90)


def test_a_prediction_has_the_shape_of_its_arguments() -> None:
    fit = law()
    one = fit.predict(1e9, 2e10)
    assert one.shape == ()
    np.testing.assert_allclose(fit.predict([1e9, 2e9], 2e10)[0], one)
    np.testing.assert_allclose(fit.predict(RUNS.N, RUNS.D), RUNS.loss)
    assert fit.predict(N.reshape(4, 5), D.reshape(4, 5)).shape == (4, 5)
    with pytest.raises(sl.InputError, match="predicts no loss"):
        _isoflop().predict(1e9, 2e10)


def _isoflop() -> sl.Fit:
    return sl.Fit("power_law", "isoflop", "parabola", "N", 9, 9, {"a": 0.5, "b": 0.5, "G": 1.0}, 0.9)


@pytest.mark.parametrize("flops", [1e21, [1e21], np.array([1e21]), pd.Series([1e21], index=[7]), 10**21])
def test_allocation_is_the_closed_form(flops: object) -> None:
    found = sl.optimal_allocation(law(), flops)  # type: ignore[arg-type]
    a, g = 0.28 / 0.62, (0.34 * 400 / (0.28 * 410)) ** (1 / 0.62)
    size = g * (1e21 / 6) ** a
    np.testing.assert_allclose(found.n_opt, [size], rtol=1e-4)
    np.testing.assert_allclose(6 * found.n_opt * found.d_opt, [1e21])
    np.testing.assert_allclose(found.loss, law().predict(size, 1e21 / 6 / size), rtol=1e-8)
    assert found.a == pytest.approx(a, abs=1e-4)
    assert found.a_interval is None
    assert np.isnan(found.n_interval).all()
    assert list(found.frame().columns)[:4] == ["flops", "n_opt", "d_opt", "loss"]
    assert "n_low" not in found._repr_html_()


def test_allocation_warns_far_out_and_refuses_nonsense() -> None:
    near, far = (sl.optimal_allocation(law(largest_c=1e20), c) for c in (2e21, 4e21))
    assert near.warnings == ()
    assert [warning.code for warning in far.warnings] == ["extrapolation"]
    assert "40 times" in far._repr_html_()
    for wrong in (0, -1e20, [], np.nan):
        with pytest.raises(sl.InputError, match="expected one or more positive numbers"):
            sl.optimal_allocation(law(), wrong)
    with pytest.raises(sl.InputError, match="predicts no loss"):
        sl.optimal_allocation(_isoflop(), 1e21)
    with pytest.raises(sl.InputError, match="no law in N and D"):
        sl.optimal_allocation(law(law="kaplan_n", estimates={"A": 5.0, "alpha": 0.1}), 1e21)


def test_allocation_with_the_table_pays_what_the_runs_paid() -> None:
    table = ladder(additive, np.random.default_rng(0))
    fit = sl.fit_law(table, resamples=40)
    exact = sl.optimal_allocation(fit, [1e18, 1e19], table=table)
    np.testing.assert_allclose(exact.n_opt, sl.find_frontier(fit, table, [1e18, 1e19]).n_opt)
    assert (exact.n_interval[:, 0] < exact.n_opt).all()
    assert (exact.n_opt < exact.n_interval[:, 1]).all()


def test_figures_take_results_and_show_themselves(tmp_path: Path) -> None:
    table = ladder(additive, np.random.default_rng(0))
    fit = sl.fit_law(table, resamples=40)
    frontier = sl.find_frontier(fit, table, [1e18, 1e19])
    profiles = [sl.profile(fit, table, "alpha", resamples=40)]
    drawn = {
        "contours": sl.figures.contours(table, fit, frontier),
        "frontier": sl.figures.frontier(table, frontier, table.count),
        "residuals": sl.figures.residuals(table, [fit], None),
        "cloud": sl.figures.cloud(fit),
        "profiles": sl.figures.profiles(profiles),
    }
    for name, figure in drawn.items():
        text = figure._repr_svg_()
        assert text.startswith("<svg")
        assert f'id="{name}-' in text
        figure.savefig(tmp_path / f"{name}.png")


def test_a_sweep_is_read_file_by_file(tmp_path: Path) -> None:
    with pytest.raises(sl.InputError, match="give the folder of a sweep"):
        sl.read_sweep(tmp_path)
    points = pd.DataFrame({"role": ["fit", "lr", "holdout"], "status": ["done", "done", "failed"]})
    points.to_parquet(tmp_path / "points.parquet")
    sweep = sl.read_sweep(tmp_path)
    assert len(sweep.points) == 3
    assert sweep.done()["role"].tolist() == ["fit"]
    assert (sweep.curves, sweep.evals, sweep.fits, sweep.forecast) == (None, None, None, None)
    fits = sl.read_sweep(ROOT / "results" / "lr").fits
    assert fits is not None
    assert fits.verdict.startswith("Hidden rate")
    (tmp_path / "fits.json").write_text('{"verdict": "none"}')
    with pytest.raises(sl.InputError, match="is not as expected"):
        _ = sl.read_sweep(tmp_path).fits


def test_a_comparison_is_a_table_with_one_row_to_quote() -> None:
    found = sl.compare_approaches(RUNS, resamples=0)
    frame = found.frame()
    assert len(frame) == len(found.fits)
    assert frame.index[frame.recommended].tolist() == [found.recommended]
    assert found.reason.split(",")[0] in found._repr_html_()


def test_importing_is_cheap() -> None:
    """What `import analysis` itself executes, beyond the interpreter."""
    code = compile(Path(sl.__file__).read_text(), sl.__file__, "exec")
    began = time.process_time()
    exec(code, {"__name__": "again"})
    assert time.process_time() - began < 0.05


NUMBERS: dict[str, Callable[[float], Any]] = {
    "a number": lambda x: x,
    "an integer": int,
    "a list": lambda x: [x, 2 * x],
    "a list of integers": lambda x: [int(x), int(2 * x)],
    "a tuple": lambda x: (x, 2 * x),
    "an array": lambda x: np.array([x, 2 * x]),
    "a Series": lambda x: pd.Series([x, 2 * x], index=[7, 3]),
    "a column of a frame": lambda x: pd.DataFrame({"x": [x, 2 * x]})["x"],
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_function_takes_numbers_lists_arrays_and_series(kind: str) -> None:
    fit, made = sl.fit_law(RUNS, resamples=0), NUMBERS[kind]
    theta, law = fit.params, sl.LAWS["chinchilla"]
    n, d, c = made(1e8), made(2e9), made(1e18)
    allocate = partial(sl.optimal_allocation, fit)
    plain = [np.atleast_1d(np.asarray(values, float)) for values in (n, d, c)]
    for found, wanted in (
        (sl.find_frontier(fit, RUNS, c).n_opt, sl.find_frontier(fit, RUNS, plain[2]).n_opt),
        (sl.find_frontier(fit, None, c).d_opt, sl.find_frontier(fit, None, plain[2]).d_opt),
        (allocate(c).loss, allocate(plain[2]).loss),
        (allocate(c, table=RUNS).loss, allocate(plain[2], table=RUNS).loss),
        (fit.predict(n, d), fit.predict(*plain[:2])),
        (fit.predict(n, d, c, d), fit.predict(*plain[:2])),
        (law.value(theta, n, d), law.value(theta.to_numpy(), *plain[:2])),
        (law.value(list(theta), n, d, c, d), law.value(theta.to_numpy(), *plain[:2])),
        (sl.LAWS["kaplan_c"].value([3.0, 0.05], n, d, c), 3.0 * plain[2] ** -0.05),
        (law.jacobian(theta, n, d, c, d), law.jacobian(theta.to_numpy(), *plain[:2])),
    ):
        assert np.ravel(found) == pytest.approx(np.ravel(wanted))
    assert law.frontier(theta) == law.frontier(theta.to_numpy())


@pytest.mark.parametrize("flops", ["much", [], [1e20, -1.0], None, [[1e20]], {"C": 1}, float("nan")])
def test_what_is_no_compute_is_one_sentence(flops: Any) -> None:
    with pytest.raises(sl.InputError, match="expected one or more positive numbers such as 1e20"):
        sl.optimal_allocation(sl.fit_law(RUNS, resamples=0), flops)


def test_a_summary_says_each_exponent_once() -> None:
    c, ratio = (x.ravel() for x in np.meshgrid([1e18, 1e19, 1e20, 1e21], np.geomspace(0.25, 4, 7)))
    n = ratio * 1.3 * (c / 6) ** 0.45
    frame = pd.DataFrame({"N": n, "D": c / (6 * n), "C": c})
    frame["loss"] = 1.7 + 400 * frame.N**-0.34 + 410 * frame.D**-0.28
    for fit in (sl.fit_isoflop(frame, resamples=50), sl.fit_law(RUNS, resamples=0)):
        names = [line.split()[0] for line in fit.summary().splitlines() if line.startswith("  ")]
        assert len(names) == len(set(names))
        assert {"a", "b"} <= set(names)
        assert "\n" not in repr(fit)
        assert len(repr(fit)) < 150
