"""Records of made-up sweeps, for tests that need a sweep.json and train nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from analysis.records.forecast import ForecastRecord
from harness.records.columns import ARM
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.sweep_file import CorpusRecord, SweepCell, SweepProvenance, SweepRecord, read_sweep

CORPUS = CorpusRecord(
    name="python",
    corpus_id="python-corpus",
    tokenizer_id="python-tokenizer",
    vocab_size=256,
    n_documents=10,
    n_train_tokens=100_000,
    n_train_bytes=200_000,
    n_eval_tokens=10_000,
    entropy_rate=None,
    unigram_nats=5.0,
    report={},
)
PROVENANCE = SweepProvenance(
    code_revision="0123abc",
    code_dirty=False,
    lock_sha256=None,
    python="3.11.0",
    versions={"jax": "0.10.2"},
    machine="Test CPU",
    cores=2,
    system="Linux",
)


def cell(run_id: str, n_tokens: int, rung: str = "d16", seed: int = 0, role: str = "fit") -> SweepCell:
    """A cell of 6 FLOPs per token; its point is called like the run and the tokens."""
    return SweepCell(
        run_id=run_id,
        point_id=f"{run_id}{n_tokens}",
        rung=rung,
        seed=seed,
        n_tokens=n_tokens,
        flops=6.0 * n_tokens,
        role=role,
    )


def cells_of(rows: Iterable[Mapping[Any, Any]]) -> tuple[SweepCell, ...]:
    """The cells that rows of points.parquet are the end points of."""
    names = [name for name in SweepCell.__dataclass_fields__ if name != ARM]
    return tuple(SweepCell(**{name: row[name] for name in names}) for row in rows)


def sweep_record(**changes: Any) -> SweepRecord:
    """A record of the grid smoke, with the fields in `changes` as given."""
    plain = SweepRecord(
        grid="smoke",
        budget="quick",
        command="python -m harness.sweep +grid=smoke",
        recipe={},
        config={},
        cells=(),
        corpus=CORPUS,
        provenance=PROVENANCE,
    )
    return replace(plain, **changes)


def write_forecast(folder: SweepFolder, forecast: ForecastRecord, number: int = 1) -> None:
    """Write a forecast, and its seal into the sweep.json that is there."""
    write_record(folder.numbered_forecast(number), forecast)
    record = read_sweep(folder.sweep)
    seals = [*record.seals[: number - 1], forecast.sha256, *record.seals[number:]]
    write_record(folder.sweep, record.with_seals(seals))
