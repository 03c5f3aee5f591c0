"""Record of a sweep: builds the content of sweep.json, and reads it for `--from`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.config.schema import SweepSettings
from harness.config.settings import plain
from harness.data.corpus import Corpus
from harness.plan.plan import Plan
from harness.recipe.spec import RECIPE_VERSION
from harness.records.errors import InputError
from harness.records.provenance import provenance
from harness.records.secret_text import redacted_values
from harness.records.sweep_file import CorpusRecord, SweepCell, SweepProvenance, SweepRecord, find_sweep

# Settings that belong to a machine or an invocation, so `--from` does not take them over.
MACHINE_KEYS = ("cache_dir", "dry_run", "launcher", "plan")


def sweep_record(
    settings: SweepSettings,
    command: str,
    plan: Plan,
    corpus: Corpus,
    recipe: dict[str, Any],
    before: SweepRecord | None,
    seals: Sequence[str | None] = (),
) -> SweepRecord:
    """Return the record of a sweep that is about to train.

    Args:
        settings: resolved settings.
        command: command line of this invocation, as it is recorded.
        plan: cells to train.
        corpus: the prepared corpus.
        recipe: what `recipe_of` returns, which all runs of the folder share.
        before: record of earlier invocations, whose seconds count on; None if there was none.
        seals: seals of the sweep's forecasts, in the order of sealing.
    """
    return SweepRecord(
        grid=settings.grid.name,
        budget=settings.budget,
        command=command,
        recipe=recipe,
        config=redacted_values(plain(settings)),
        cells=tuple(
            SweepCell(
                run_id=c.spec.run_id,
                point_id=c.spec.point_id(c.n_tokens),
                rung=c.spec.rung,
                seed=c.spec.seed,
                n_tokens=c.n_tokens,
                flops=c.flops,
                role=c.role,
                arm=c.arm,
            )
            for c in plan.cells
        ),
        corpus=corpus_record(settings.data.name, corpus),
        provenance=SweepProvenance(**vars(provenance())),
        seconds=before.seconds if before else 0.0,
        seconds_total=before.seconds_total if before else 0.0,
        worker_seconds=before.worker_seconds if before else {},
    ).with_seals(seals)


def corpus_record(name: str, corpus: Corpus) -> CorpusRecord:
    """Return the description of a corpus, without its tokens."""
    return CorpusRecord(
        name=name,
        corpus_id=corpus.corpus_id,
        tokenizer_id=corpus.tokenizer_id,
        vocab_size=corpus.vocab_size,
        n_documents=corpus.n_documents,
        n_train_tokens=corpus.n_train_tokens,
        n_train_bytes=corpus.n_train_bytes,
        n_eval_tokens=corpus.n_eval_tokens,
        entropy_rate=corpus.entropy_rate,
        unigram_nats=corpus.unigram_nats,
        report=corpus.report,
    )


def read_record(path: str) -> SweepRecord:
    """Return the record of an earlier sweep, without the settings of its machine.

    Raises:
        InputError: the file is no record of a sweep, or this code trains another version of the recipe.
    """
    try:
        record = find_sweep(Path(path).expanduser())
    except RuntimeError:  # There is no such home folder.
        record = None
    if record is None:
        raise InputError(
            f"--from {path or 'nothing'} is no record of a sweep; type --from results/NAME/sweep.json"
        )
    version = record.recipe.get("recipe_version")
    if version != RECIPE_VERSION:
        raise InputError(
            f"{path} was made with recipe_version={version} and this code trains recipe_version="
            f"{RECIPE_VERSION}; check out its code revision {record.provenance.code_revision}, or start anew "
            f"with +grid={record.grid}"
        )
    config = {key: value for key, value in record.config.items() if key not in MACHINE_KEYS}
    return replace(record, config=config)
