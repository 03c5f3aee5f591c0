"""One-axis power laws: recovery along each line, choice of the line, too few rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.kaplan import fit_kaplan, lines
from analysis.tables.table import load_table
from harness.records.errors import InputError
from tests.fakes.surfaces import CHINCHILLA, SMALL_JOINT, foreign_table, sweep_points


def rectangle(n: np.ndarray, d: np.ndarray) -> pd.DataFrame:
    n, d = (axis.ravel() for axis in np.meshgrid(n, d))
    return pd.DataFrame({"n": n, "d": d, "c": 6 * n * d, "trunk": n, "loss": CHINCHILLA.loss(n, d)})


def test_offset_laws_recover_the_exponents_of_an_additive_surface() -> None:
    frame = rectangle(np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e12, 7))
    fits = {fit.law: fit for fit in fit_kaplan(foreign_table(frame))}
    e, a, b, alpha, beta = CHINCHILLA.theta
    assert fits["kaplan_n_offset"].params["alpha"] == pytest.approx(alpha, rel=1e-4)
    assert fits["kaplan_n_offset"].params["E"] == pytest.approx(e + b * 1e12**-beta, rel=1e-5)
    assert fits["kaplan_d_offset"].params["beta"] == pytest.approx(beta, rel=1e-4)
    assert fits["kaplan_d_offset"].params["E"] == pytest.approx(e + a * 1e10**-alpha, rel=1e-5)


def test_all_six_laws_with_kaplans_own_numbers() -> None:
    fits = fit_kaplan(load_table(sweep_points(SMALL_JOINT)))
    assert {fit.approach for fit in fits} == {"kaplan"}
    assert {fit.law for fit in fits} == {
        f"kaplan_{axis}{offset}" for axis in "ndc" for offset in ("", "_offset")
    }
    published = {fit.law: fit.kaplan.published_exponent for fit in fits}
    assert (published["kaplan_n"], published["kaplan_d"], published["kaplan_c"]) == (0.076, 0.095, 0.050)


def test_the_line_is_the_largest_that_is_full() -> None:
    frame = rectangle(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 8e9, 4))
    missing = (frame.d == frame.d.max()) & (frame.n > 5e8)
    tokens, sizes, _ = lines(foreign_table(frame[~missing]))
    assert tokens.value == pytest.approx(4e9)
    assert sizes.value == pytest.approx(frame.n[frame.n < 5e8].max())


def test_two_rows_are_an_input_error() -> None:
    frame = rectangle(np.array([1e8, 2e8]), np.array([1e9]))
    with pytest.raises(InputError, match="expected at least three sizes"):
        fit_kaplan(foreign_table(frame))
