"""Any table of evaluations and any mapping end in verdicts or in one sentence, never in a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.emergence.__main__ import main
from tests.fuzzing import fuzzed

NAMES = (
    "task",
    "length",
    "C",
    "D",
    "loss",
    "seed",
    "metric",
    "value",
    "n_items",
    "chance",
    "score",
    "perplexity",
)
WILD = ("70M", "abc", None, "nan", 1e300, -1, 0, float("inf"), "12 %", "1,234", 10**400, [1], True)
numbers = {"N": st.floats(1e6, 1e9), "exact": st.floats(0, 1), "smooth": st.floats(0.1, 5)}
others = st.one_of(st.sampled_from(["a", "b", "exact_match"]), st.integers(0, 3), st.floats(0, 1))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path))


@st.composite
def evaluations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of a wide table; in one table out of three some cells are wild."""
    wild = draw(st.sampled_from([False, False, True]))
    names = ["N", "exact", "smooth", *draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))]
    cells = {name: numbers.get(name, others) for name in names}
    if wild:
        cells = {name: st.one_of(cell, cell, st.sampled_from(WILD)) for name, cell in cells.items()}
    rows = draw(st.sampled_from([0, 1, 3, 8]))
    return [{name: draw(cell) for name, cell in cells.items()} for _ in range(rows)]


mappings = st.lists(
    st.sampled_from(["task", "C", "seed", "n_items", "perplexity=ppl", "X", "loss="]), max_size=1
)
options = st.sampled_from(
    [[], [], ["--where", "task=a"], ["--scale", "exact=0.01"], ["--scale", "N=-1"], ["--axis", "C"]]
)


@fuzzed(60)
@given(evaluations(), mappings, options)
def test_any_evaluations(rows: list[dict[str, Any]], more: list[str], words: list[str]) -> None:
    mapping = ",".join(name if "=" in name else f"{name}={name}" for name in ["N", "exact", "smooth", *more])
    out, error = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "evals.json"
        path.write_text(json.dumps(rows))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = main([str(path), "--map", mapping, *words])
    assert code in (0, 2)
    if code == 2:
        assert error.getvalue().startswith("error: ")
        assert error.getvalue().count("\n") == 1
    assert re.findall(r"(?<!')\b(?:nan|inf)\b(?!')", out.getvalue()) == []
