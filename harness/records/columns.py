"""Columns of a sweep's tables, and their types.

`points.parquet` holds one row per finished end point, `curves.parquet` one row per logged step. Sweeps with
tasks also have `evals.parquet`, one row per metric, and `items.parquet`, one row per test item of an end
point. results/README.md lists unit and meaning of every column.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

POINT_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "trunk_id": "string",
    "point_id": "string",
    "grid": "string",
    "rung": "string",
    "seed": "int64",
    "n_layers": "int64",
    "d_model": "int64",
    "n_params": "int64",
    "n_params_matmul": "int64",
    "n_params_body": "int64",
    "n_tokens": "int64",
    "n_unique_tokens": "int64",
    "flops": "float64",
    "flops_6nd": "float64",
    "loss": "float64",
    "loss_sem": "float64",
    "bits_per_byte": "float64",
    "hidden_lr": "float64",
    "embed_lr": "float64",
    "head_lr": "float64",
    "gain_lr": "float64",
    "batch_tokens": "int64",
    "n_steps": "int64",
    "schedule": "string",
    "cooled": "bool",
    "role": "string",
    "status": "string",
    "excluded_reason": "string",
    "seconds": "float64",
    "device": "string",
    "code_revision": "string",
    "corpus_id": "string",
    "tokenizer_id": "string",
    "vocab_size": "int64",
    "unigram_nats": "float64",
}


CURVE_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "step": "int64",
    "n_tokens": "int64",
    "flops": "float64",
    "train_loss": "float64",
    "eval_loss": "float64",
    "hidden_lr": "float64",
    "grad_norm": "float64",
    "tokens_per_second": "float64",
}


EVAL_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "n_tokens": "int64",
    "task": "string",
    "length": "int64",
    "n_shot": "int64",
    "split": "string",
    "metric": "string",
    "value": "float64",
    "sem": "float64",
    "n_items": "int64",
    "chance": "float64",
}


ITEM_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "n_tokens": "int64",
    "task": "string",
    "length": "int64",
    "n_shot": "int64",
    "item": "int64",
    "n_positions": "int64",
    "hits": "int64",
    "exact_match": "bool",
    "log_p_answer": "float64",
    "nll_per_token": "float64",
    "margin": "float64",
}


# Names of columns in tables of schema version 1, and their names of today.
FORMER_NAMES = {"peak_lr": "hidden_lr", "lr": "hidden_lr"}

# Columns about how a run went on its machine, not about what it computed.
TIMING_COLUMNS = ("seconds", "tokens_per_second", "device", "code_revision")


def with_current_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Rename columns of a sweep's table from schema version 1; leave other tables as they are."""
    if "run_id" not in frame:
        return frame
    old = {was: now for was, now in FORMER_NAMES.items() if was in frame and now not in frame}
    return frame.rename(columns=old)


def as_table(rows: list[dict[str, Any]] | pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return rows as a frame with exactly `columns`, in order and with their types."""
    # A table without rows has its types too, so that it can be joined with others.
    return with_current_names(pd.DataFrame(rows)).reindex(columns=list(columns)).astype(columns)
