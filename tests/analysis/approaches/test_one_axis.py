"""Tables with one axis: a law of one axis needs no other column, and a comparison gives what can be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis as sl
from analysis.fit import main
from analysis.tables.table import load_table
from analysis.uncertainty.table_warnings import table_warnings
from harness.records.errors import InputError

SIZES = np.array([2e7, 6e7, 2e8, 6e8, 1.5e9])
LOSSES = np.round(1.9 + 900 / SIZES**0.4, 4)
OF_AXIS = {"N": "kaplan_n_offset", "D": "kaplan_d_offset", "C": "kaplan_c_offset"}
EXPONENT = {"N": "alpha", "D": "beta", "C": "kappa"}


def runs(column: str) -> pd.DataFrame:
    return pd.DataFrame({column: SIZES, "loss": LOSSES})


@pytest.mark.parametrize("axis", OF_AXIS)
def test_a_law_of_one_axis_needs_that_column_alone(axis: str) -> None:
    fit = sl.fit_law(runs("mine"), OF_AXIS[axis], mapping={axis: "mine"}, resamples=0)
    assert fit.params["E"] == pytest.approx(1.89986, abs=1e-4)
    assert fit.params[EXPONENT[axis]] == pytest.approx(0.39989, abs=1e-4)
    assert fit.predict(*[SIZES] * 3) == pytest.approx(LOSSES, rel=1e-3)
    assert fit.largest_c == (SIZES.max() if axis == "C" else None)
    assert not {"flops_apart", "mixed_cells"} & {warning.code.value for warning in fit.warnings}


@pytest.mark.parametrize("axis", OF_AXIS)
def test_a_warning_of_cells_names_the_axis_that_is_there(axis: str) -> None:
    """Rows of one D alone may have any N, so nothing is said of an N that the table does not have."""
    apart = pd.concat([runs("mine"), runs("mine").assign(loss=LOSSES * 1.2)], ignore_index=True)
    (doubt,) = table_warnings(sl.load_table(apart, mapping={axis: "mine"}, axes=axis.lower()))
    assert doubt.code.value == "mixed_cells"
    assert doubt.message.startswith(f"rows of equal {axis} differ by ")


@pytest.mark.parametrize("axis", OF_AXIS)
@pytest.mark.parametrize("asked", ["chinchilla", *OF_AXIS.values()])
def test_other_laws_name_the_column_they_need(axis: str, asked: str) -> None:
    if asked == OF_AXIS[axis]:
        return
    with pytest.raises(InputError, match=r"map (N|D|C|N=COLUMN,D)=COLUMN"):
        sl.fit_law(runs(axis), asked, resamples=0)


def test_the_command_fits_sizes_without_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sizes.csv"
    runs("params").to_csv(path, index=False)
    assert main([str(path), "--map", "N=params", "--law", "kaplan_n_offset", "--resamples", "0"]) == 0
    said = capsys.readouterr().out
    assert "E           1.89986\n" in said
    assert "A           898.495\n" in said
    assert main([str(path), "--map", "N=params"]) == 2
    assert "no column 'n_tokens' for D: map D=COLUMN" in capsys.readouterr().err
    assert main([str(path), "--map", "N=params,C=", "--law", "kaplan_c"]) == 2
    assert "the mapping leaves out C, which is needed" in capsys.readouterr().err


def test_runs_of_one_token_count_say_what_they_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence on what is left out instead of six; nobody who named no law gets an error."""
    path = tmp_path / "sizes.csv"
    runs("N").assign(D=4e8).to_csv(path, index=False)
    found = sl.compare_approaches(path, resamples=0)
    assert [fit.law for fit in found.fits] == ["kaplan_n", "kaplan_n_offset"]
    assert found.recommended is None
    assert found.reason.startswith("All these runs have one token count")
    (text,) = found.not_possible
    assert text.startswith("every run was trained on 4e+08 tokens: laws in N and D")
    for approach in ("parametric", "all"):
        assert main([str(path), "--approach", approach, "--resamples", "0"]) == 0
        assert "every run was trained on 4e+08 tokens" in capsys.readouterr().out
    assert main([str(path), "--law", "chinchilla"]) == 2
    assert main([str(path), "--law", "kaplan_n", "--resamples", "0"]) == 0


def test_all_approaches_give_the_rows_that_can_be_had() -> None:
    found = sl.compare_approaches(runs("N"), resamples=0)
    assert [fit.law for fit in found.fits] == ["kaplan_n", "kaplan_n_offset"]
    assert found.fits[1].params["A"] == pytest.approx(898.5, abs=0.1)
    assert found.recommended is None
    assert "no law in N and D can be fitted (chinchilla needs token counts D" in found.reason
    left_out = [text.split(" is not possible: ")[0] for text in found.not_possible]
    assert left_out == [
        "the chinchilla law with N = N",
        "IsoFLOP with N = N",
        "the envelope with N = N over end points",
        "the quadrature law",
        "the joint law",
        "the bounded law",
    ]


def test_compute_alone_is_compared_too() -> None:
    found = sl.compare_approaches(runs("C"), "kaplan_c_offset", resamples=0)
    assert [(fit.approach, fit.law) for fit in found.fits] == [
        ("parametric", "kaplan_c_offset"),
        ("kaplan", "kaplan_c"),
        ("kaplan", "kaplan_c_offset"),
    ]
    assert found.recommended is None
    assert "is no law in N and D" in found.reason


def test_nothing_to_fit_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"^no approach can be fitted to this table: the chinchilla law"):
        sl.compare_approaches(runs("N").iloc[:2], resamples=0)


@pytest.mark.parametrize(("axis", "other"), [("N", "kaplan_d_offset"), ("D", "kaplan_n_offset")])
def test_a_law_of_both_axes_names_the_one_that_can_be_fitted(axis: str, other: str) -> None:
    n, d = np.geomspace(1e7, 1e9, 8), np.geomspace(1e9, 1e11, 8)
    frame = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34}).assign(**{axis: 1e9})
    with pytest.raises(InputError, match=f"has 1: add runs, or fit {other}, a law of the other axis"):
        sl.fit_law(frame, "chinchilla", resamples=0)
    assert sl.fit_law(frame, other, resamples=0).law == other


def test_cells_are_told_apart_by_what_is_there() -> None:
    assert len(set(load_table(runs("C"), axes="c").cell)) == len(SIZES)
    frame = pd.DataFrame({"D": [1e9, 1e9, 2e9], "C": [1e18, 1e18, 1e18], "loss": [3.0, 3.1, 2.9]})
    table = load_table(frame, axes="d")
    assert (table.cell.tolist(), table.absent) == ([1, 1, 0], ""), "N follows from C and D"
    assert load_table(runs("N").assign(C=1e18)).absent == "", "D follows from C and N"
