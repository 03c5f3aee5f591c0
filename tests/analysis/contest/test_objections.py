"""What speaks against quoting a fit: its parameters, its error, its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from analysis.approaches.parametric import fit_law
from analysis.contest.objections import (
    NOT_TOLD_APART,
    SAID_BESIDE,
    mending,
    objection,
    objections,
    said_beside,
)
from analysis.records.warning_codes import SEVERITY, FitWarning, Severity, WarningCode
from analysis.result import Fit
from analysis.tables.table import LossTable
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


@cache
def fitted() -> tuple[Fit, LossTable]:
    table = ladder(joint, np.random.default_rng(0))
    return fit_law(table, "joint", resamples=0), table


def warned(*codes: WarningCode) -> tuple[Fit, LossTable]:
    """A fit with warnings of its own choice, and its table."""
    fit, table = fitted()
    return replace(fit, warnings=tuple(FitWarning(code, f"so: {code}") for code in codes)), table


@pytest.mark.parametrize("code", [code for code in WarningCode if SEVERITY[code] is Severity.BLOCKS])
def test_a_row_that_a_warning_blocks_is_not_recommended_without_saying_so(code: WarningCode) -> None:
    fit, table = warned(code)
    against, beside = objection(fit, table, {}, 9), said_beside(fit.warnings)
    assert (against is None) is (code in SAID_BESIDE)
    assert against or f"see {code}" in beside


@pytest.mark.parametrize("code", [WarningCode.ACTIVE_BOUND, WarningCode.ILL_CONDITIONED])
def test_a_warning_of_the_row_speaks_against_it(code: WarningCode) -> None:
    fit, table = warned(code)
    assert objections(fit, table, {}, 9) == [f"so: {code}"]
    found = objection(fit, table, {}, 9)
    assert found is not None
    assert found.startswith(f"the rule chooses joint, but so: {code}; what would change that: ")


def test_a_table_is_mended_before_anything_is_quoted() -> None:
    fit, table = warned(WarningCode.MIXED_CELLS, WarningCode.LOSS_SCALE, WarningCode.LACK_OF_FIT)
    assert objection(fit, table, {}, 0) == (
        "the table is to be mended first: so: mixed_cells; so: loss_scale"
    )
    text = mending(fit.warnings)
    assert text is not None
    assert text.startswith(
        "nothing can be quoted before the table is mended (loss_scale, mixed_cells): state "
    )
    assert "--loss-is perplexity" in text
    assert "--where COLUMN=VALUE" in text
    assert mending(fit.warnings[2:]) is None


def test_sizes_and_tokens_that_grow_together_say_nothing_on_how_to_divide_compute() -> None:
    fit, table = warned(WarningCode.COLLINEAR)
    assert objection(fit, table, {}, 9) == NOT_TOLD_APART
    assert objection(replace(fit, warnings=()), table, {}, 9) is None
