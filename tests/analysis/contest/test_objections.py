"""What speaks against quoting a fit: its parameters, its error, its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from analysis.approaches.parametric import fit_law
from analysis.contest.objections import NOT_TOLD_APART, objection, objections
from analysis.records.warning import FitWarning, WarningCode
from tests.fakes.tables import joint, ladder


def against(law: str, errors: Mapping[str, float], n_predicted: int = 9, cells: int = 30) -> list[str]:
    table = ladder(joint, np.random.default_rng(0))
    table = table.select(table.cell < cells)
    fit = replace(fit_law(table, law, resamples=0), warnings=())
    return objections(fit, table, errors, n_predicted)


def test_each_objection_to_a_row() -> None:
    near = {"joint": 0.02, "chinchilla": 0.01, "quadrature": 0.03}
    assert against("joint", near) == []
    assert against("joint", {"joint": 0.02}) == [], "the only error is no worst one"
    assert against("joint", {**near, "joint": 0.04}) == ["its error, 4.00 % RMS, is the largest of the laws"]
    assert against("joint", near, cells=12) == ["12 cells are few for 6 parameters"]
    assert against("chinchilla", near, cells=12) == []
    assert against("joint", near, n_predicted=1) == [
        "the contest could predict 1 cell from cells of less compute"
    ]
    assert against("joint", {}, n_predicted=0) == [
        "the contest could predict no cells from cells of less compute"
    ]
    assert against("kaplan_d", {})[0].startswith("it is no law in N and D")


@pytest.mark.parametrize("code", ["active_bound", "ill_conditioned"])
def test_a_warning_of_the_row_speaks_against_it(code: str) -> None:
    table = ladder(joint, np.random.default_rng(0))
    warned = replace(fit_law(table, "joint", resamples=0), warnings=(FitWarning(WarningCode(code), "so"),))
    assert objections(warned, table, {}, 9) == ["so"]
    found = objection(warned, table, {}, 9)
    assert found is not None
    assert found.startswith("the rule chooses joint, but so; what would change that: ")


def test_sizes_and_tokens_that_grow_together_say_nothing_on_how_to_divide_compute() -> None:
    table = ladder(joint, np.random.default_rng(0))
    doubt = FitWarning(WarningCode.COLLINEAR, "so")
    warned = replace(fit_law(table, "joint", resamples=0), warnings=(doubt,))
    assert objection(warned, table, {}, 9) == NOT_TOLD_APART
    assert objection(replace(warned, warnings=()), table, {}, 9) is None
