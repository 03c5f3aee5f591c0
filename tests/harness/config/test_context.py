"""A context of another length takes along the rotary angles and keeps the tokens of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.context import rope_theta
from harness.config.settings import load, load_noted, plain
from harness.sweep import __main__ as sweep
from tests.small_sweeps import SMALL


def test_the_slowest_pair_turns_by_the_same_angle_over_the_context() -> None:
    for head_dim, seq_len in ((16, 1024), (64, 32), (4, 100)):
        theta = rope_theta(200.0, seq_len / 128, head_dim)
        turns = [
            length * base ** (-(head_dim - 2) / head_dim) for length, base in ((128, 200.0), (seq_len, theta))
        ]
        assert math.isclose(*turns, rel_tol=1e-3)
    assert rope_theta(200.0, 8.0, 2) == 200.0, "one pair turns by 1 a token, whatever the base"


@pytest.mark.parametrize(
    ("overrides", "theta", "batch", "said"),
    [
        ([], 200.0, 4, ""),
        (["model.seq_len=128"], 200.0, 4, ""),
        (["model.seq_len=256"], 441.6, 2, "model.rope_theta=441.6 (200 at 128) and"),
        (["model.seq_len=256"], 441.6, 2, " and optim.batch_size=2 (512 tokens, as at 128); what is given"),
        (["model.seq_len=100"], 150.8, 5, "optim.batch_size=5 (500 tokens, 512 at 128)"),
        (["model.seq_len=1024"], 2153.0, 1, "optim.batch_size=1 (1,024 tokens, 512 at 128)"),
        (["model.seq_len=1024", "model.head_dim=64"], 1711.0, 1, "model.rope_theta=1711"),
        (["model.seq_len=256", "model.rope_theta=200"], 200.0, 2, "takes along optim.batch_size=2"),
        (["model.seq_len=256", "optim.batch_size=4"], 441.6, 4, "takes along model.rope_theta=441.6"),
        (["model.seq_len=256", "optim.batch_size=4", "model.rope_theta=200"], 200.0, 4, ""),
        (["model.seq_len=256", "optim.batch_size_tokens_exponent=.5"], 441.6, 4, "along model.rope_theta"),
    ],
)  # fmt: skip
def test_what_nobody_gave_follows_the_context(
    overrides: list[str], theta: float, batch: int, said: str
) -> None:
    found = load_noted(["+grid=smoke", *overrides])
    assert (found.settings.model.rope_theta, found.settings.optim.batch_size) == (theta, batch)
    assert (said in found.notes[0]) if said else not found.notes


def test_what_a_grid_gives_stays() -> None:
    found = load_noted(["+grid=ladder", "budget=standard"])
    assert (found.settings.model.seq_len, found.settings.model.rope_theta) == (1024, 10000.0)
    assert not found.notes


def test_a_stored_sweep_is_made_for_its_own_context() -> None:
    stored = plain(load(["+grid=smoke", "model.seq_len=256"]))
    assert load_noted([], stored).notes == ()
    longer = load(["model.seq_len=512"], stored)
    assert (longer.model.rope_theta, longer.optim.batch_size) == (975.1, 1)
    # Another optimiser comes from sweeps/, where a batch is made for 128 tokens.
    assert load(["optim=muon"], stored).optim.batch_size == 2
    assert load(["model=moe"], stored).model.rope_theta == 200.0


def test_the_plan_says_so(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    free = [each for each in SMALL if "rope_theta" not in each and "batch_size" not in each]
    folders = [f"results_dir={tmp_path}", f"cache_dir={data_cache}"]
    said: Callable[[], str] = lambda: " ".join(capsys.readouterr().out.split())  # noqa: E731
    assert sweep.main([*free, "grid.n_tokens=[16384,32768]", *folders, "dry_run=true"]) == 0
    assert "note: model.seq_len=32 takes along model.rope_theta=41.02 (200 at 128)" in said()
    assert sweep.main([*SMALL, *folders, "dry_run=true"]) == 0
    assert "takes along" not in said()
