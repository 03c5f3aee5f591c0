"""Typed record of a sweep: sweep.json.

The driver writes it before the first run starts. Status, report, summary and `--from` read it, also in sweeps
of earlier versions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.records.errors import Damaged, InputError
from harness.records.json_files import ABSENT_IF_NONE, checked, current, from_json, read_json
from harness.records.provenance import Provenance

SWEEP_SCHEMA = 1
# Ids of runs and points.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
# A JSON file without these keys was never a sweep's record.
MARKS = {"config", "recipe", "cells"}
LOST = "put it back from a copy, or delete it: the sweep's command writes it again and keeps the runs"


@dataclass(frozen=True, kw_only=True)
class SweepCell:
    """One cell of the plan: a model trained to a token count.

    Attributes:
        run_id: run that reaches the cell's end point.
        point_id: the end point.
        rung: name of the model size, such as `d64`.
        seed: seed of initialisation and data order.
        n_tokens: training tokens.
        flops: training FLOPs.
        role: `fit`, `holdout`, `reference`, `lr` or `arm`.
        arm: the arm of a grid with arms; absent elsewhere.
    """

    run_id: str
    point_id: str
    rung: str
    seed: int
    n_tokens: int
    flops: float
    role: str
    arm: str | None = field(default=None, metadata=ABSENT_IF_NONE)


@dataclass(frozen=True, kw_only=True)
class CorpusRecord:
    """The prepared corpus.

    Attributes:
        name: source: python, text, tokens or synthetic.
        corpus_id: hash of the corpus.
        tokenizer_id: hash of the tokenizer; `symbols` for synthetic data, `unknown` for bare tokens.
        vocab_size: number of token ids, the separator included.
        n_documents: training documents; None if unknown.
        n_train_tokens: training tokens.
        n_train_bytes: bytes of the training text; None if they were not counted.
        n_eval_tokens: tokens of the held-out documents.
        entropy_rate: entropy rate of a synthetic source, nats per token; None for text.
        unigram_nats: loss of a unigram model, nats per token; None in old records.
        report: counts of every step of cleaning, and of tasks.
    """

    name: str
    corpus_id: str
    tokenizer_id: str
    vocab_size: int
    n_documents: int | None
    n_train_tokens: int
    n_train_bytes: int | None
    n_eval_tokens: int
    entropy_rate: float | None
    unigram_nats: float | None = None
    report: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SweepProvenance(Provenance):
    """Provenance of a sweep.

    Attributes:
        devices: kinds of device that trained the end points; empty until they are collected.
    """

    devices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """Content of sweep.json.

    Attributes:
        schema: version of the keys.
        grid: name of the grid.
        budget: size of the sweep: quick, standard or full.
        command: command line of the last invocation that changed the plan or trained.
        recipe: settings that all runs of the folder share, by dotted key.
        config: resolved configuration.
        cells: the plan.
        corpus: the prepared corpus.
        provenance: code, package versions and machine of the driver.
        seconds: wall-clock seconds up to the end of training, summed over invocations.
        seconds_total: wall-clock seconds with fits and report, summed over invocations.
        worker_seconds: seconds of the workers by kind, summed over invocations.
        forecast_sha256: seal of the sweep's forecast.json; None if none was sealed, or by an earlier version.
        later_forecast_sha256: seals of forecast-2.json, forecast-3.json and so on.
    """

    schema: int = SWEEP_SCHEMA
    grid: str
    budget: str
    command: str
    recipe: dict[str, Any]
    config: dict[str, Any]
    cells: tuple[SweepCell, ...]
    corpus: CorpusRecord
    provenance: SweepProvenance
    seconds: float = 0.0
    seconds_total: float = 0.0
    worker_seconds: dict[str, float] = field(default_factory=dict)
    forecast_sha256: str | None = None
    later_forecast_sha256: tuple[str | None, ...] = ()

    @property
    def seals(self) -> tuple[str | None, ...]:
        """Seals of all forecasts, in the order of sealing; empty if none was sealed."""
        found = (self.forecast_sha256, *self.later_forecast_sha256)
        return () if found == (None,) else found

    @property
    def note_on_arms(self) -> str | None:
        """What further cells of a sweep with arms cost; None without arms."""
        grid = self.config.get("grid")
        arms = grid.get("arms") if isinstance(grid, dict) else None
        if not arms:
            return None
        n = len(arms)
        return f"the sweep has {n} arms, and each trains a further cell: multiply its FLOPs by {n}"

    def with_seals(self, seals: Sequence[str | None]) -> SweepRecord:
        """Return the record with the seals of all forecasts."""
        first, *later = seals or (None,)
        return replace(self, forecast_sha256=first, later_forecast_sha256=tuple(later))


def _check_cells(record: SweepRecord, path: Path) -> None:
    """Raise InputError for ids that are no names of files and for cells without tokens or FLOPs."""
    for cell in record.cells:
        for name in (cell.run_id, cell.point_id):
            # They become names of folders, and cancelling a run writes there.
            if not NAME.fullmatch(name):
                raise InputError(
                    f"{path} has a cell called {name[:80]!r}, expected an id of letters, digits, dots and "
                    "dashes: give the folder of a sweep that this program planned"
                )
        if cell.n_tokens <= 0 or not 0 < cell.flops < math.inf:
            raise InputError(
                f"{path} has a cell of {cell.n_tokens} tokens and {cell.flops:g} FLOPs, expected numbers "
                "above 0: give the folder of a sweep that this program planned"
            )


def find_sweep(path: Path) -> SweepRecord | None:
    """Return the record in a sweep.json; None if the file is missing or something else.

    Raises:
        Damaged: the record has other content than was written.
        InputError: the record is of a newer schema, or its keys do not fit.
    """
    try:
        value = read_json(path)
    except Damaged:
        return None
    if not isinstance(value, dict) or not value.keys() >= MARKS:
        return None
    try:
        value = checked(value, path)
    except Damaged as error:
        raise Damaged(path, error.reason, LOST) from error
    record = from_json(current(value, str(path), SWEEP_SCHEMA, {}), SweepRecord, str(path))
    _check_cells(record, path)
    return record


def read_sweep(path: Path) -> SweepRecord:
    """Return the record in a sweep.json.

    Raises:
        InputError: there is no record of a sweep, it is damaged or of a newer schema, or its keys do not fit.
    """
    found = find_sweep(path)
    if found is None:
        raise InputError(f"{path} is no record of a sweep; give the folder of one, results/NAME")
    return found
