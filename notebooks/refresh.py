"""Execute the notebooks and store their outputs: `python notebooks/refresh.py [NAME …]`, all by default.

A notebook's metadata keep a fingerprint of its code and of the results that it reads. A test compares it with
the files, so that stored outputs are never older than either. Outputs themselves are not compared: the last
digits of a fit differ between processors.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
READ = re.compile(r"\.\./(results/[\w-]+)")
TABLES = (".parquet", ".json")


def code_of(notebook: Any) -> str:
    """Return the source of all code cells."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def fingerprint(notebook: Any) -> dict[str, Any]:
    """Return hashes of the code cells and of the tables in every results folder that they name."""
    code = code_of(notebook)
    folders = sorted({FOLDER.parent / name for name in READ.findall(code)})
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.suffix in TABLES]
    return {
        "code": _hash(code.encode()),
        "results": {file.relative_to(FOLDER.parent).as_posix(): _hash(file.read_bytes()) for file in files},
    }


def execute(notebook: Any, kernel: Any = None) -> None:
    """Run all cells in the folder of the notebooks, as a reader does: in a new kernel, or in `kernel`."""
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False, km=kernel)
    client.execute(cwd=str(FOLDER))
    if kernel is not None:
        client.kc.stop_channels()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def main(names: list[str]) -> None:
    """Execute and store the notebooks whose file name starts with one of `names`."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and not any(path.name.startswith(name) for name in names):
            continue
        notebook = nbformat.read(path, as_version=4)
        execute(notebook)
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "executed": fingerprint(notebook),
        }
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
