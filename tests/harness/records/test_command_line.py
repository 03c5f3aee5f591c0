"""A terminal that lacks the letters of a path ends no command."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from harness.sweep import __main__ as sweep
from tests.small_sweeps import SMALL


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_a_terminal_lacks_are_replaced(
    encoding: str, tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sweep, "matmul_rate", lambda: 1e10)
    # The byte of a file name that is no UTF-8 comes as a lone surrogate.
    folder = f"results_dir={tmp_path}/größer☃\udcff"
    assert sweep.main([*SMALL, folder, f"cache_dir={data_cache}", "dry_run=true"]) == 0
    assert b"to train" in out.buffer.getvalue()  # type: ignore[attr-defined]
    assert sweep.main([*SMALL, "optim.gröber☃=1\udcff"]) == 2
    said = err.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert said.startswith("error: unknown key 'optim.gr")
    assert said.count("\n") == 1
