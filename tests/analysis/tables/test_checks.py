"""Repeated rows, weights, units and overflow: what a table is refused for, in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.records.fit import COUNTS
from analysis.tables.checks import PLAUSIBLE
from analysis.tables.table import load_table
from harness.records.errors import InputError
from tests.fakes.surfaces import SMALL_JOINT, sweep_points


def plain_rows() -> pd.DataFrame:
    """Sizes and tokens as language models have them, 2 to 2000 tokens per parameter."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e8, 1e10, 3), np.geomspace(2e10, 2e11, 3)))
    return pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 400 * d**-0.28})


def test_a_repeated_row_is_left_out_and_a_replicate_kept() -> None:
    frame = plain_rows()
    replicate = frame.iloc[[1]].assign(loss=2.5)
    table = load_table(pd.concat([frame, frame.iloc[[0, 4]], replicate], ignore_index=True))
    assert [(entry.row, entry.reason) for entry in table.excluded] == [
        (9, "repeats row 0"),
        (10, "repeats row 4"),
    ]
    assert len(table) == 10


def test_rows_that_differ_in_any_column_are_no_repetition() -> None:
    frame = pd.concat([plain_rows()] * 2, ignore_index=True)
    names = [f"run {row}" for row in range(len(frame))]
    assert load_table(frame.assign(name=names)).excluded == ()
    lists = frame.assign(shape=[[row] for row in range(len(frame))])
    assert load_table(lists).excluded == ()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("weight", -1.0, "w is -1, expected 0 or more"),
        ("weight", np.nan, "w is not a finite number"),
        ("weight", np.inf, "w is not a finite number"),
        ("sem", -0.1, "w is -0.1, expected 0 or more"),
        ("weight", 1e300, "w is 1e+300, expected at most 1e+12"),
        ("sem", np.inf, "w is not a finite number"),
    ],
)
def test_weights_and_standard_errors_are_checked(key: str, value: float, reason: str) -> None:
    frame = plain_rows().assign(w=0.5)
    frame.loc[3, "w"] = value
    table = load_table(frame, mapping={key: "w"})
    assert [(entry.row, entry.reason) for entry in table.excluded] == [(3, reason)]


def test_a_standard_error_may_be_missing() -> None:
    frame = plain_rows().assign(w=0.5)
    frame.loc[3, "w"] = np.nan
    assert len(load_table(frame, mapping={"sem": "w"})) == 9


def test_weights_of_nothing_but_zero() -> None:
    with pytest.raises(InputError, match="w is 0 in every row"):
        load_table(plain_rows().assign(w=0.0), mapping={"weight": "w"})


@pytest.mark.parametrize(
    ("unit", "advice"),
    [
        ({"N": 1e9}, "N=1e9"),
        ({"N": 1e6}, "N=1e6"),
        ({"D": 1e6}, "D=1e6"),
        ({"D": 1e9}, "D=1e9"),
        ({"D": 1e12}, "D=1e12"),
        ({"N": 1e9, "D": 1e9}, "N=1e9,D=1e9"),
        ({"N": 1e9, "D": 1e12}, "N=1e9,D=1e12"),
    ],
)
@pytest.mark.parametrize("with_flops", [False, True])
def test_units_that_cannot_be_right_come_with_the_remedy(
    unit: dict[str, float], advice: str, with_flops: bool
) -> None:
    frame = plain_rows()
    if with_flops:
        frame = frame.assign(C=6 * frame.N * frame.D)
    counted = frame.assign(**{key: frame[key] / value for key, value in unit.items()})
    with pytest.raises(InputError, match=f"give the scale {advice} if"):
        load_table(counted)
    remedy = "map C to no column if N and D" if with_flops else "give the scale N=1,D=1 if the numbers"
    with pytest.raises(InputError, match=f"or {remedy} are right"):
        load_table(counted)
    table = load_table(counted, scale=unit)
    np.testing.assert_allclose(table.n, frame.N)
    np.testing.assert_allclose(table.d, frame.D)
    np.testing.assert_allclose(table.c, 6 * frame.N * frame.D)


def test_flops_in_units_and_no_tokens() -> None:
    frame = plain_rows().assign(C=lambda rows: 6 * rows.N * rows.D / 1e21).drop(columns="D")
    mapping = {"C": "C"}
    with pytest.raises(InputError, match=r"D/N is about .* the scale C=1e21 if"):
        load_table(frame, mapping=mapping)
    np.testing.assert_allclose(load_table(frame, mapping=mapping, scale={"C": 1e21}).d, plain_rows().D)


def test_small_numbers_are_believed_when_stated_or_when_flops_agree() -> None:
    frame = plain_rows()
    small = frame.assign(N=frame.N / 1e7, D=frame.D / 1e8)
    with pytest.raises(InputError, match=f"the largest N is {1e10 / 1e7:g}, too few for parameters"):
        load_table(small)
    assert small.N.max() < PLAUSIBLE["N"][0]
    assert len(load_table(small, scale={"N": 1, "D": 1})) == 9
    assert len(load_table(small.assign(C=6 * small.N * small.D))) == 9


def test_a_small_sweep_is_believed_under_every_count() -> None:
    """Half a million tokens are few, but the units of a sweep's own table are known."""
    points = sweep_points(SMALL_JOINT)
    factor = 3e5 / points.n_tokens.max()
    small = points.assign(n_tokens=points.n_tokens * factor, flops=points.flops * factor)
    small = small.assign(n_params_body=small.n_params / 40)
    assert small.n_tokens.max() < PLAUSIBLE["D"][0]
    for count in COUNTS:
        assert len(load_table(small, count=count)) > 0
    with pytest.raises(InputError, match="too few for"):
        load_table(small.drop(columns="run_id"), count="n_params_body")


def test_consistent_flops_do_not_excuse_fractions_of_a_parameter() -> None:
    frame = plain_rows().assign(C=lambda rows: 6 * rows.N * rows.D / 1e21)
    counted = frame.assign(N=frame.N / 1e9, D=frame.D / 1e12)
    with pytest.raises(InputError, match=r"N is 0.1, less than one parameter.*the scale N=1e9,D=1e12,C=1e21"):
        load_table(counted)


@pytest.mark.parametrize(("bits", "kind"), [(64, np.int64), (32, np.int32)])
def test_flops_that_overflowed_integers_are_named(bits: int, kind: type) -> None:
    frame = plain_rows().astype({"N": np.int64, "D": np.int64})
    if bits == 32:
        frame = frame.assign(N=frame.N // 1000, D=frame.D // 1000)
    wrapped = frame.assign(C=(6 * frame.N * frame.D).astype(kind))
    with pytest.raises(InputError, match=rf"6·N·D after it overflowed {bits}-bit integers.*map C to no"):
        load_table(wrapped)
    table = load_table(wrapped, mapping={"C": ""})
    np.testing.assert_allclose(table.c, 6 * frame.N.astype(float) * frame.D.astype(float))


def test_integer_columns_do_not_overflow_here() -> None:
    frame = plain_rows().astype({"N": np.int64, "D": np.int64})
    assert load_table(frame).c.max() == pytest.approx(6 * 1e10 * 2e11)


def test_rows_wanted_by_their_columns() -> None:
    frame = plain_rows().assign(data=["a", "b", "c"] * 3)
    table = load_table(frame, where={"data": "b"})
    assert table.row.tolist() == [1, 4, 7]
    assert {entry.reason for entry in table.excluded} == {"data is not b"}
    with pytest.raises(InputError, match=r"no row with data = x: the column holds a, b, c"):
        load_table(frame, where={"data": "x"})
    with pytest.raises(InputError, match=r"the column 'set': expected one out of 'N', 'D', 'loss', 'data'"):
        load_table(frame, where={"set": "x"})


def test_unknown_unit() -> None:
    with pytest.raises(InputError, match="no key of the scale is called loss: use N, D or C"):
        load_table(plain_rows(), scale={"loss": 2.0})
