"""In-context learning: how loss falls within a document, and how near a model comes to simple algorithms."""

from __future__ import annotations

from typing import Any

import pandas as pd

METRICS = (
    "loss_at_position", "icl_score", "icl_early_loss", "icl_late_loss", "repeated_sequence_score",
    "kl_model", "kl_uniform", "kl_unigram", "kl_bigram_bayes", "prefix_matching_score",
)  # fmt: skip
KEYS = ["task", "metric", "length", "n_shot", "N"]


def in_context(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Means over seeds by task, metric, position (`length`), demonstrations and size; sd between seeds.

    The tokens behind each are the largest count that the size was trained on.
    """
    if rows.empty:
        return []
    wanted = rows[rows["metric"].isin(METRICS) & rows["value"].notna()]
    wanted = wanted[wanted["D"] == wanted.groupby("N")["D"].transform("max")]
    if wanted.empty:
        return []
    wanted = wanted.assign(
        length=wanted["length"].astype(float).fillna(0), n_shot=wanted["n_shot"].astype(float).fillna(0)
    )
    wanted["task"] = wanted["task"].astype(object).fillna("text")
    found = []
    for key, values in wanted.groupby(KEYS, sort=True)["value"]:
        task, metric, length, n_shot, n = map(str, key)
        entry = {"task": task, "metric": metric, "length": float(length), "n_shot": int(float(n_shot))}
        sd = float(values.std()) if len(values) > 1 else None
        size = {"n_params": float(n), "n_seeds": len(values)}
        found.append({**entry, **size, "value": float(values.mean()), "sd": sd})
    return found
