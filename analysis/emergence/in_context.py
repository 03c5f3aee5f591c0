"""In-context learning by size: use of context in text, and distance from Bayesian n-gram predictors."""

from __future__ import annotations

import pandas as pd

from analysis.records.emergence import InContextRecord

METRICS = (
    "loss_at_position", "icl_score", "icl_early_loss", "icl_late_loss", "repeated_sequence_score",
    "kl_model", "kl_uniform", "kl_unigram", "kl_bigram_bayes", "prefix_matching_score",
)  # fmt: skip
KEYS = ["task", "metric", "length", "n_shot", "N"]


def in_context(rows: pd.DataFrame) -> list[InContextRecord]:
    """Return means over seeds by task, metric, `length`, demonstrations and size.

    Args:
        rows: rows of evals.parquet with the columns N and D; of each size only its largest D counts.
    """
    if rows.empty:
        return []
    wanted = rows[rows["metric"].isin(METRICS) & rows["value"].notna()]
    wanted = wanted[wanted["D"] == wanted.groupby("N")["D"].transform("max")]
    if wanted.empty:
        return []
    # Groups would drop rows whose key is missing.
    wanted = wanted.assign(
        length=wanted["length"].astype(float).fillna(0), n_shot=wanted["n_shot"].astype(float).fillna(0)
    )
    wanted["task"] = wanted["task"].astype(object).fillna("text")
    found = []
    for key, values in wanted.groupby(KEYS, sort=True)["value"]:
        task, metric, length, n_shot, n = map(str, key)
        sd = float(values.std()) if len(values) > 1 else None
        found.append(
            InContextRecord(
                task=task,
                metric=metric,
                length=float(length),
                n_shot=int(float(n_shot)),
                n_params=float(n),
                n_seeds=len(values),
                value=float(values.mean()),
                sd=sd,
            )
        )
    return found
