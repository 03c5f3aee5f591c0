"""Any table and any arguments end in a result or in one sentence, never in a traceback or a NaN."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.fit import main
from tests.fuzzing import fuzzed

pytestmark = pytest.mark.usefixtures("few_starts")

EXAMPLES = 80
KINDS = ("csv", "CSV", "tsv", "txt", "json", "jsonl", "parquet")
QUESTIONS = (
    "C=1e24", "N=1e9,D=1e11", "D=1e300", "C=1e-300", "loss=2.5", "C=1e22,level=0.5", "N=0", "C=nan",
    "C=1e24,C=1e25", "N=7e9", "D=2T", "x=1", "=", "",
)  # fmt: skip
NAMES = (
    "C", "status", "role", "cluster", "seed", "lr", "step", "run", "run_id", "point_id", "vocab_size",
    "unigram_nats", "weight", "sem", "excluded_reason", "cooled", " N", "loss", "a|b", "tokens, B", "é",
    "", "1e18", "3e18", "x__MIN", "Unnamed: 0",
)  # fmt: skip
KEYS = (
    "N", "D", "C", "loss", "perplexity", "cluster", "seed", "sem", "weight", "role", "rung", "unique",
    "unigram", "vocab", "status", "X", "",
)  # fmt: skip
WORDS = (
    "", "nan", "-", "abc", "70M", "1,234", "1.234,5", "12 %", "½", "diverged", "FINISHED", "crashed",
    "done", "a\nb", '"', "#", "\u200b1", "0x10", "1e999", "٣",
)  # fmt: skip
HUGE = (
    10**30, 10**400, -(10**19), 2**63, 1e300, 1e-300, float("nan"), float("inf"), -float("inf"), 0, -1,
    True, None, [1], {"a": 2},
)  # fmt: skip
LAWS = (
    "chinchilla", "joint", "tied", "quadrature", "kaplan_n", "kaplan_c", "kaplan_d_offset",
    "kaplan_joint", "joint_e0", "overtraining", "data_constrained", "broken_n", "saturating",
    "saturating(5,6)", "chinchilla[E=1]", "chinchilla[E=nan]", "chinchilla[alpha=1e400]",
    "joint[gamma=0.2:0.5]", "joint[", "x", "",
)  # fmt: skip

PAGE = "page.html"  # in the folder of the table
COLUMNS = ["N", "D", "loss"]
GRID = [
    [n, d, 2 + (3e7 / n) ** 0.3 + (1e9 / d) ** 0.3] for n in (1e7, 4e7, 2e8) for d in (1e9, 3e9, 1e10, 4e10)
]

sizes = st.floats(6, 10).map(lambda power: 10**power)
losses = st.floats(1, 6)
anything = st.one_of(st.sampled_from(WORDS), st.sampled_from(HUGE), sizes, st.integers(-5, 5))
Table = tuple[list[str], list[list[Any]]]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Names and rows; most numbers are sensible, so that many tables reach a fit."""
    rows = draw(st.sampled_from([0, 1, 3, 8, 8, 10, 10, 12, 12, 16]))
    wild = draw(st.sampled_from([False, False, True]))
    names = ["N", "D", "loss", *draw(st.lists(st.sampled_from(NAMES), max_size=5))]
    if not wild:
        names = list(dict.fromkeys(name for name in names if name != " N"))
    columns = []
    for name in names:
        values: st.SearchStrategy[Any] = losses if name.strip() == "loss" else sizes
        if name.strip() not in ("N", "D", "C", "loss"):
            values = draw(st.sampled_from([anything, st.sampled_from(["a", "b"]), st.integers(0, 2)]))
        elif wild:
            values = st.one_of(values, values, values, anything)
        elif name != "loss" and draw(st.booleans()):
            values = st.sampled_from(draw(st.lists(values, min_size=1, max_size=4)))
        columns.append(draw(st.lists(values, min_size=rows, max_size=rows)))
    return names, [list(row) for row in zip(*columns, strict=True)]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name


@st.composite
def options(draw: st.DrawFn) -> list[str]:
    """Arguments, most of them sensible."""
    column = st.one_of(st.sampled_from(["N", "D", "loss", "C", "nope", "", *NAMES]), st.text(max_size=5))
    given = {
        "--law": st.sampled_from(LAWS),
        "--count": column,
        "--loss": column,
        "--map": st.dictionaries(st.sampled_from(KEYS), column, max_size=3).map(
            lambda pairs: ",".join(f"{key}={quoted(name)}" for key, name in pairs.items())
        ),
        "--where": st.tuples(column, st.sampled_from([*WORDS, "1", "a"])).map(
            lambda pair: f"{quoted(pair[0])}={quoted(pair[1])}"
        ),
        "--scale": st.sampled_from(["N=1e9", "D=1e-300", "N=1e300", "C=1e9,N=1", "x=1", "N=nan", "N"]),
        "--loss-is": st.sampled_from(["nats", "perplexity", "bits_per_byte=4", "bits_per_byte=1e300", "x"]),
        "--seed": st.sampled_from(["-1", "5", "99999999999999999999", "1.5"]),
        "--estimator": st.sampled_from(["huber", "lad", "lsq", "lsq_loss", "gls", "x"]),
        "--approach": st.sampled_from(["isoflop", "kaplan", "envelope", "parametric", "all", "all"]),
        "--predict": st.sampled_from(QUESTIONS) | st.text(max_size=6),
        "--accuracy": column,
        "--chance": st.sampled_from(["0", "0.25", "1", "-1", "nan"]),
        "--report": st.just(PAGE),
        "--level": st.sampled_from(["0.5", "0", "nan", "1e-9", "0.999999"]),
        "--bootstrap": st.sampled_from(["cluster", "residual", "x"]),
    }
    some = draw(st.sampled_from([0, 0, 1, 2]))
    chosen = draw(st.lists(st.sampled_from(sorted(given)), min_size=some, max_size=some, unique=True))
    return [word for name in chosen for word in (name, draw(given[name]))]


def write(table: Table, kind: str, folder: Path) -> Path:
    names, rows = table
    path = folder / f"t.{kind}"
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if kind == "json":
        path.write_text(json.dumps(records))
        return path
    if kind == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path
    if kind == "parquet":
        write_parquet(names, rows, path)
        return path
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter={"csv": ",", "CSV": ";", "tsv": "\t", "txt": " "}[kind])
        writer.writerow(names)
        writer.writerows(rows)
    return path


def write_parquet(names: list[str], rows: list[list[Any]], path: Path) -> None:
    """Columns that hold values of several types are written as text."""
    columns = []
    for column in zip(*rows, strict=True) if rows else [[]] * len(names):
        try:
            columns.append(pa.array(column))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            columns.append(pa.array([str(value) for value in column]))
    # Unlike a frame, a file may have two columns of one name.
    pq.write_table(pa.Table.from_arrays(columns, names=names), path)


def no_such_number(name: str) -> None:
    raise AssertionError(f"{name} in the JSON")


@fuzzed(EXAMPLES)
@given(tables(), options(), st.sampled_from(KINDS), st.sampled_from([0, 0, 0, 3]))
@example((COLUMNS, GRID), ["--map", "N="], "csv", 0)
@example((COLUMNS, [[10**400, 10**30, 3.0], *GRID]), [], "json", 0)
@example((COLUMNS, GRID), ["--scale", "N=1e300"], "csv", 0)
@example((COLUMNS, GRID), ["--seed", "-1"], "csv", 0)
@example((COLUMNS, GRID), ["--law", "data_constrained"], "csv", 0)
@example((COLUMNS, GRID), ["--approach", "all", "--predict", "C=1e24"], "jsonl", 3)
@example((COLUMNS, GRID), ["--predict", "N=1e9,D=1e11", "--report", PAGE], "parquet", 0)
@example((["N", "D", "loss", "N"], [[*row, 1] for row in GRID]), [], "txt", 0)
def test_any_table_and_any_arguments(table: Table, words: list[str], kind: str, resamples: int) -> None:
    out, error = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "fit.json"
        given = [str(Path(folder) / PAGE) if word == PAGE else word for word in words]
        arguments = [str(write(table, kind, Path(folder))), *given, "--json", str(result)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = main([*arguments, "--resamples", str(resamples)])
        if code == 0:
            json.loads(result.read_text(), parse_constant=no_such_number)
            assert (Path(folder) / PAGE).exists() == (PAGE in words)
    assert code in (0, 2)
    if code == 2:
        assert error.getvalue().startswith("error: ")
        assert error.getvalue().count("\n") == 1
    # A word of the table stands in quotes.
    assert re.findall(r"(?<!')\b(?:nan|inf)\b(?!')", out.getvalue()) == []
