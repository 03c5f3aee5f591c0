"""Terminals that lack the letters of a path, and paths of output files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from harness.records.command_line import CommandParser, output_file
from harness.records.errors import InputError
from harness.sweep import __main__ as sweep
from tests.small_sweeps import SMALL


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_a_terminal_lacks_are_replaced(
    encoding: str, tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    # The byte of a file name that is no UTF-8 comes as a lone surrogate.
    folder = f"results_dir={tmp_path}/größer☃\udcff"
    assert sweep.main([*SMALL, folder, f"cache_dir={data_cache}", "dry_run=true"]) == 0
    assert b"to train" in out.buffer.getvalue()  # type: ignore[attr-defined]
    assert sweep.main([*SMALL, "optim.gröber☃=1\udcff"]) == 2
    said = err.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert said.startswith("error: unknown key 'optim.gr")
    assert said.count("\n") == 1


def test_a_folder_is_no_output_file(tmp_path: Path) -> None:
    """A write sets aside a folder in a file's place, which may be done to our own files alone."""
    parser = CommandParser("harness.bench", "Measure.", "python -m harness.bench")
    parser.add_argument("--json", type=output_file)
    assert parser.read(["--json", str(tmp_path / "out.json")]).json == tmp_path / "out.json"
    with pytest.raises(InputError, match=r"--json: .* is a folder; give the name of a file"):
        parser.read(["--json", str(tmp_path)])
    assert tmp_path.is_dir()
