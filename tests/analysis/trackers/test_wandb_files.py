"""Files of W&B, byte by byte: blocks, what was cut off, what was changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.trackers.wandb_files import BLOCK, read_wandb, wandb_files
from harness.records.errors import Damaged
from tests import ROOT
from tests.analysis.trackers.truth import FEW

STORED = ROOT / "tests" / "stored" / "tracked" / "wandb"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (stored,) = STORED.glob("*/run-id1.wandb")
    return Path(shutil.copy(stored, tmp_path))


def test_a_record_goes_on_in_the_next_block(file: Path) -> None:
    assert file.stat().st_size > BLOCK
    (run,) = read_wandb([file])
    assert (run.name, run.state, len(run.settings["notes"])) == (FEW[1].name, "failed", 40_000)
    curve = run.metrics["val/loss"]
    assert curve.to_dict() == {step: FEW[1].loss(step) for step in FEW[1].steps}


def test_a_run_that_was_killed_is_said_to_have_crashed(file: Path) -> None:
    """The last record says how a run ended; without it nothing does, wherever the file is cut."""
    whole = file.read_bytes()
    for cut in (1, 5, 30, 500):
        file.write_bytes(whole[:-cut])
        (run,) = read_wandb([file])
        assert run.state == "crashed"


def test_a_changed_byte_is_never_a_number(file: Path) -> None:
    whole = file.read_bytes()
    for at in range(BLOCK + 8000, len(whole) - 400, 97):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            (run,) = read_wandb([file])
        except Damaged:
            continue
        # A length that became larger than the rest cuts the file off, as a killed process does.
        curve = run.metrics.get("val/loss", pd.Series(dtype=float))
        assert run.state == "crashed"
        assert curve.to_dict() == {step: FEW[1].loss(int(step)) for step in curve.index}


def test_a_link_to_the_latest_run_is_no_other_run(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "wandb")
    (tmp_path / "wandb" / "latest-run").symlink_to("offline-run-20260101_000000-id2")
    assert [path.name for path in wandb_files(tmp_path)] == [path.name for path in wandb_files(STORED)]


def test_runs_of_one_name_are_told_apart_by_their_ids(file: Path) -> None:
    other = Path(shutil.copy(file, file.with_name("run-id9.wandb")))
    assert [run.name for run in read_wandb([file, other])] == [f"{FEW[1].name}-id1", f"{FEW[1].name}-id9"]
