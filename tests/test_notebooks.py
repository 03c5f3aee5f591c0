"""The notebooks: front door only, few cells, stored outputs that are not stale, a run from top to bottom."""

from __future__ import annotations

import ast
import asyncio
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager

from harness.records.sweep_file import read_sweep
from tests import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
REFRESH = runpy.run_path(str(FOLDER / "refresh.py"))
MOST_CELLS = 18
# Own data are made on the spot, and planned by the command itself.
MAKES_FILES = {
    "05_your_own_data": {
        "import os",
        "import subprocess",
        "import sys",
        "import tempfile",
        "import tokenizers",
        "from pathlib import Path",
    }
}
LARGEST = 1_000_000  # bytes of a notebook with its outputs


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_there_are_notebooks() -> None:
    first = ["01_quickstart", "02_fit_and_frontier", "03_your_own_losses", "04_emergence", "05_your_own_data"]
    assert [path.stem for path in NOTEBOOKS] == [*first, "06_one_decision"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_few_cells_no_functions_front_door_only(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= MOST_CELLS
    assert notebook.cells[0].cell_type == "markdown"
    nodes = list(ast.walk(ast.parse(REFRESH["code_of"](notebook))))
    assert not [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    imports = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    allowed = {
        "import analysis as sl",
        "import numpy as np",
        "import pandas as pd",
        "import matplotlib as mpl",
    }
    assert set(imports) <= allowed | MAKES_FILES.get(path.stem, set())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_last_section_invites_three_changes(path: Path) -> None:
    last = read(path).cells[-1]
    assert last.cell_type == "markdown"
    assert last.source.startswith("## Try this")
    assert [line[:2] for line in last.source.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3."]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_not_stale(path: Path) -> None:
    """Code and results are those of the last refresh. Outputs differ in last digits between processors."""
    notebook = read(path)
    assert notebook.metadata.get("executed") == REFRESH["fingerprint"](notebook), (
        f"{path.name} or the results that it reads have changed: run python notebooks/refresh.py {path.stem}"
    )
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))
    kinds = {output.output_type for cell in ran for output in cell.outputs}
    assert kinds <= {"execute_result", "stream", "display_data"}
    assert any("image/svg+xml" in output.get("data", {}) for cell in ran for output in cell.outputs)
    assert path.stat().st_size < LARGEST


def test_own_data_are_planned_and_the_committed_sweep_took_as_long_as_it_says() -> None:
    notebook = read(FOLDER / "05_your_own_data.ipynb")
    (plan,) = [
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code" and "dry_run=true" in cell.source
        for output in cell.outputs
    ]
    for said in ("error:", "Traceback", "\x1b"):
        assert said not in plan
    for said in ("numeric 50.0%", "tables 30.0%", "shards 20.0%", "cells, 12 to train", "to train: "):
        assert said in plan
    (minutes,) = re.findall(r"It took (\d+) minutes", " ".join(cell.source for cell in notebook.cells))
    seconds = read_sweep(ROOT / "results" / "mixture" / "sweep.json").seconds
    assert float(minutes) == round(seconds / 60)


@pytest.fixture(scope="module")
def kernel() -> Iterator[AsyncKernelManager]:
    """One kernel for all notebooks: starting one and importing everything takes longer than most of them."""
    running = AsyncKernelManager(kernel_name="python3")
    yield running
    asyncio.run(running.shutdown_kernel(now=True))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, kernel: AsyncKernelManager) -> None:
    """Every cell gives outputs of the kinds that are stored; names of the notebook before are gone."""
    stored, again = read(path), read(path)
    again.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    REFRESH["execute"](again, kernel)
    del again.cells[0]
    for before, after in zip(stored.cells, again.cells, strict=True):
        assert [output.output_type for output in before.get("outputs", ())] == [
            output.output_type for output in after.get("outputs", ())
        ]
