"""The benchmark of token shards: what it writes, what it reads, and what it refuses."""

from __future__ import annotations

import json

import pytest

from harness.bench import shards
from harness.bench.shards import main


def test_both_corpora_are_trained_on_in_turn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_MB", 1)
    monkeypatch.setattr(shards, "SMALL_MB", 0.5)
    assert main(["--gb", "0.003", "--rungs", "16", "--seconds", "0.01", "--repeats", "2"]) == 2
    assert capsys.readouterr().err == "error: gb is 0.003, expected at least 0.016 (--gb)\n"
    assert main(["--gb", "0.016", "--rungs", "16", "--seconds", "0.01", "--repeats", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == 16
    assert found["gb"] == pytest.approx(0.016)
    (row,) = found["rungs"]
    assert row["rung"] == "d16"
    assert set(row["tokens_per_second"]) == {"large", "small"}
    assert 0 < row["ratio"]["min"] <= row["ratio"]["median"]
