"""Event files, byte by byte: what was cut off or changed is told from what was written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.trackers.events import read_events
from harness.records.errors import Damaged
from tests import ROOT
from tests.analysis.trackers.truth import FEW

STORED = ROOT / "tests" / "stored" / "tracked" / "tensorboardx" / FEW[1].name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (stored,) = STORED.iterdir()
    return Path(shutil.copy(stored, tmp_path))


def test_one_file_is_a_run(file: Path) -> None:
    (run,) = read_events(file)
    assert set(run.metrics) == {"val/loss", "train/loss", "lr"}
    curve = run.metrics["val/loss"]
    assert curve.index.tolist() == FEW[1].steps
    assert curve.tolist() == pytest.approx([FEW[1].loss(step) for step in FEW[1].steps], rel=1e-6)


def test_a_file_that_was_cut_off_ends_before_the_cut(file: Path) -> None:
    """A killed process leaves part of a record, wherever it is cut."""
    whole = file.read_bytes()
    for cut in (1, 4, 20, 60):
        file.write_bytes(whole[:-cut])
        (run,) = read_events(file)
        assert len(run.metrics["val/loss"]) == len(FEW[1].steps)
    file.write_bytes(whole[:20])
    assert read_events(file)[0].metrics == {}


def test_a_changed_byte_is_never_a_number(file: Path) -> None:
    """Checksums cover lengths and content: no byte can change without being told."""
    whole = file.read_bytes()
    for at in range(0, len(whole) - 60, 37):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Damaged, match=r"begins no record|has another checksum"):
            read_events(file)
