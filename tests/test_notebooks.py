"""The notebooks run from top to bottom on the committed example, and hold no code of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests import ROOT
from tests.fakes.emergence import example, write_tables

FOLDER = ROOT / "notebooks"
EXAMPLE = FOLDER.parent / "results" / "chinchilla" / "points.parquet"
EMERGENCE = FOLDER.parent / "results" / "emergence" / "evals.parquet"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_CELLS = 16


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_of(notebook: Any) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def test_there_are_notebooks() -> None:
    names = ["01_quickstart", "02_fit_and_frontier", "03_your_own_losses", "04_emergence"]
    assert [path.stem for path in NOTEBOOKS][: len(names)] == names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_few_cells_no_functions_no_stored_output(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= MOST_CELLS
    assert notebook.cells[0].cell_type == "markdown"
    assert "def " not in code_of(notebook)
    assert "class " not in code_of(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.skipif(not EXAMPLE.exists(), reason=f"no committed example: {EXAMPLE} is missing")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = read(path)
    if not EMERGENCE.exists():
        simulated = [example(k=8, seeds=2)[i] for i in (0, 3, 4)]
        monkeypatch.setenv("EMERGENCE_SWEEP", str(write_tables(tmp_path / "simulated", simulated)))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(FOLDER))
    shown = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert len(shown) >= 3
