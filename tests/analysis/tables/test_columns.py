"""Columns by quantity: our names mean ours only in our tables, and a text says what was used in others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.parametric import fit_law
from analysis.contest.recommended import counted_tables
from analysis.tables.columns import OWN_COLUMNS
from analysis.tables.numbers import DONE, NOT_DONE
from analysis.tables.table import load_table
from harness.records.errors import InputError

N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e8, 1e10, 5), np.geomspace(2e9, 2e11, 4)))
LOSS = 1.7 + 400 * N**-0.34 + 400 * D**-0.28


def foreign(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"N": N, "D": D, "loss": LOSS}).assign(**columns)


OTHERS = {
    "status": "up",
    "role": "reference",
    "cluster": "gpu-a",
    "trunk_id": "x",
    "seed": "one",
    "cooled": False,
    "excluded_reason": "none",
    "vocab_size": "BPE",
    "unigram_nats": 99.0,
    "n_unique_tokens": 3,
    "loss_sem": -1.0,
    "rung": "a",
    "flops": 1e15,
    "C": 1024,
    "vocab": "large",
    "unique": True,
    "weight": -1,
    "sem": np.nan,
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("key", [None, "run_id", "point_id"])
def test_our_names_have_no_meaning_in_foreign_tables(name: str, key: str | None) -> None:
    frame = foreign(**{name: OTHERS[name]})
    if key:
        frame[key] = [f"r{row}" for row in range(len(frame))]
    table = load_table(frame)
    assert (len(table), table.excluded) == (len(N), ())
    assert len(np.unique(table.cluster)) == len(N)
    assert (table.seed, table.role, table.loss_sem, table.weights, table.limits) == (None,) * 5
    np.testing.assert_array_equal(table.c, 6 * N * D)


def test_in_a_table_of_a_sweep_they_have() -> None:
    frame = foreign(run_id="r", point_id=[f"p{row}" for row in range(len(N))])
    own = frame.rename(columns={"N": "n_params_matmul", "D": "n_tokens"}).assign(
        trunk_id=np.arange(len(N)) // 2, role="fit", cooled=True, seed=1, flops=7 * N * D, status="done"
    )
    own.loc[0, "status"], own.loc[1, "role"] = "failed", "reference"
    table = load_table(own)
    assert [entry.reason for entry in table.excluded] == ["run failed", "reference run"]
    assert (table.read_as, table.warnings) == (None, ())
    assert len(np.unique(table.cluster)) == len(N) // 2 - 1
    np.testing.assert_array_equal(table.c, (7 * N * D)[2:])


@pytest.mark.parametrize("name", ["status", "State", "STATUS"])
@pytest.mark.parametrize("done", sorted({*DONE} - {"converged"}))
def test_a_finished_run_is_done_in_any_word(name: str, done: str) -> None:
    words = [done.upper(), done.capitalize(), done] * len(N)
    assert load_table(foreign(**{name: words[: len(N)]})).excluded == ()


@pytest.mark.parametrize("word", sorted(NOT_DONE))
def test_a_run_that_did_not_finish_is_left_out_with_its_word(word: str) -> None:
    frame = foreign(state=["finished"] * (len(N) - 1) + [word.upper()])
    table = load_table(frame)
    assert [entry.reason for entry in table.excluded] == [f"state is {word.upper()}"]
    assert "'state' tells which runs are finished" in str(table.read_as)
    assert load_table(frame, mapping={"status": ""}).excluded == ()


def test_the_status_may_stand_in_another_column() -> None:
    frame = foreign(end=["fine"] * (len(N) - 1) + ["crashed"])
    assert load_table(frame).excluded == ()
    assert len(load_table(frame, mapping={"status": "end"}).excluded) == 1
    with pytest.raises(InputError, match="the mapping for status names the column 'nope'"):
        load_table(frame, mapping={"status": "nope"})


def test_what_was_used_is_said() -> None:
    frame = foreign(C=6.5 * N * D, run="a").rename(columns={"N": "params, all", "loss": "val"})
    table = load_table(frame, mapping={"N": "params, all", "loss": "val", "cluster": "run"})
    assert table.read_as == "N = 'params, all', D = 'D', C = 'C', loss = 'val', cluster = 'run'"
    said = "N = 'N', D = 'D', C = 6·N·D, loss = 'loss'; every row is a cluster of its own"
    assert load_table(foreign()).read_as == said
    fit = fit_law(foreign(), resamples=0)
    assert f"read as: {fit.read_as}" in fit.summary()
    assert fit.to_record().read_as == fit.read_as


@pytest.mark.parametrize("name", ["C", "flops"])
def test_flops_by_name_are_used_if_they_can_be_flops(name: str) -> None:
    np.testing.assert_array_equal(load_table(foreign(**{name: 7 * N * D})).c, 7 * N * D)
    for other in (1e12 * np.sqrt(N), "large", np.where(N > 1e9, 6 * N * D, np.nan), np.arange(len(N))):
        table = load_table(foreign(**{name: other}))
        np.testing.assert_array_equal(table.c, 6 * N * D)
        assert f"C = 6·N·D ({name!r} is far from it" in str(table.read_as)
    assert load_table(foreign(**{name: 1e12 * np.sqrt(N)}), mapping={"C": name}).c[0] == 1e12 * np.sqrt(N[0])


@pytest.mark.parametrize("name", [" N", "N ", "\tN", ("N", "")])
def test_blanks_around_names_do_not_matter(name: str | tuple[str, str]) -> None:
    frame = foreign()
    frame.columns = pd.Index([name, " D ", "loss"]) if isinstance(name, str) else pd.MultiIndex.from_tuples(
        [name, ("D", ""), ("loss", "")]
    )  # fmt: skip
    assert len(load_table(frame)) == len(N)
    assert len(load_table(frame, mapping={"N": " N", "loss": "loss "})) == len(N)


def test_names_that_are_no_texts() -> None:
    frame = foreign().rename(columns={"N": 0})
    assert len(load_table(frame, mapping={"N": "0"})) == len(N)
    with pytest.raises(InputError, match="with columns out of: '0', 'D', 'loss'"):
        load_table(frame)


def test_columns_in_the_index_are_columns() -> None:
    assert len(load_table(foreign().set_index(["N", "D"]))) == len(N)
    assert load_table(foreign(**{"Unnamed: 0": np.arange(len(N))})).excluded == ()


def test_an_index_does_not_hide_a_repeated_row() -> None:
    frame = pd.concat([foreign(), foreign().iloc[[0]]], ignore_index=True)
    frame.insert(0, "Unnamed: 0", np.arange(len(frame)))
    assert [entry.reason for entry in load_table(frame).excluded] == ["repeats row 0"]


def test_two_columns_of_one_name() -> None:
    frame = pd.concat([foreign(), foreign()[["loss"]] + 1], axis=1)
    with pytest.raises(InputError, match="2 columns are called 'loss': give each a name of its own"):
        load_table(frame)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"N": ""}, "leaves out N, which is needed"),
        ({"loss": ""}, "leaves the loss out"),
        ({"perplexity": ""}, "leaves the loss out"),
        ({"D": "", "C": ""}, "leaves out D, which is needed"),
        ({"loss": "loss", "perplexity": "loss"}, "has loss and perplexity: keep the one"),
        ({"colour": "loss"}, "no key of the mapping is called colour"),
        ({"D": "tokens"}, "no column 'tokens' for D: map D=COLUMN with columns out of: 'N', 'D', 'loss'"),
    ],
)
def test_wrong_mappings(mapping: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_table(foreign(), mapping=mapping)


def test_many_columns_are_not_all_listed() -> None:
    more = pd.DataFrame(0, index=range(len(N)), columns=[f"x{i}" for i in range(100)])
    frame = pd.concat([foreign().drop(columns="loss"), more], axis=1)
    with pytest.raises(InputError, match=r"'x0', .* and 72 more"):
        load_table(frame)


def test_a_bar_in_a_name_is_no_second_count() -> None:
    frame = foreign(**{"a|b": N, "a": 2 * N, "b": 3 * N})
    assert list(counted_tables(frame, mapping={"N": "a|b"})) == ["N"]
    assert list(counted_tables(frame.drop(columns="a|b"), mapping={"N": "a|b"})) == ["a", "b"]


def test_the_names_of_our_columns_are_those_of_the_sweep() -> None:
    assert set(OTHERS) >= {*OWN_COLUMNS.values()} - {"n_tokens"}
