"""sweep.json: configuration, plan, data and origin of a sweep, and the way back from it to the sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.config.settings import SweepSettings, plain
from harness.data.prepare import Corpus
from harness.plan.plan import Plan
from harness.recipe.spec import RECIPE_VERSION, DataSpec
from harness.records.errors import InputError
from harness.records.provenance import provenance
from harness.sweep.folder_recipe import recipe_of

# Where a sweep was made, and how far: these are not made again.
MACHINE_KEYS = ("cache_dir", "dry_run", "launcher")
# What every run records of its sweep, beside its own process.
ORIGIN_KEYS = ("command", "config", "corpus")


def sweep_record(
    settings: SweepSettings,
    arguments: list[str],
    plan: Plan,
    corpus: Corpus,
    data: DataSpec,
    before: dict[str, Any],
) -> dict[str, Any]:
    """What sweep.json says; training time adds up over the invocations `before` tells of."""
    return {
        "grid": settings.grid.name,
        "budget": settings.budget,
        "command": "python -m harness.sweep " + " ".join(arguments),
        "recipe": recipe_of(settings, data),
        "config": plain(settings),
        "cells": [
            {
                "run_id": c.spec.run_id,
                "point_id": c.spec.point_id(c.n_tokens),
                "rung": c.spec.rung,
                "seed": c.spec.seed,
                "n_tokens": c.n_tokens,
                "flops": c.flops,
                "role": c.role,
            }
            for c in plan.cells
        ],
        "corpus": {
            "name": settings.data.name,
            "corpus_id": corpus.corpus_id,
            "tokenizer_id": corpus.tokenizer_id,
            "vocab_size": corpus.vocab_size,
            "n_documents": corpus.n_documents,
            "n_train_tokens": corpus.n_train_tokens,
            "n_train_bytes": corpus.n_train_bytes,
            "n_eval_tokens": corpus.n_eval_tokens,
            "entropy_rate": corpus.entropy_rate,
            "unigram_nats": corpus.unigram_nats,
            "report": corpus.report,
        },
        "provenance": provenance(),
        "seconds": before.get("seconds", 0.0),
        "seconds_total": before.get("seconds_total", 0.0),
        "worker_seconds": before.get("worker_seconds", {}),
    }


def read_record(path: str) -> dict[str, Any]:
    """The record of an earlier sweep, to be made again; raises InputError for another version's."""
    try:
        record: Any = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or not {"config", "recipe", "cells"} <= record.keys():
        raise InputError(
            f"--from {path or 'nothing'} is no record of a sweep; type --from results/NAME/sweep.json"
        )
    version = record["recipe"].get("recipe_version")
    if version != RECIPE_VERSION:
        revision = record.get("provenance", {}).get("code_revision", "unknown")
        raise InputError(
            f"{path} was made with recipe_version={version} and this code trains recipe_version="
            f"{RECIPE_VERSION}; check out its code revision {revision}, or start anew with "
            f"+grid={record.get('grid')}"
        )
    record["config"] = {key: value for key, value in record["config"].items() if key not in MACHINE_KEYS}
    return record
