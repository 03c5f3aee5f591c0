"""From scores of test items to rows of evals.parquet and items.parquet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from harness.data.tasks.items import Group
from harness.evaluate.token_scores import Scores

Row = dict[str, Any]


def row(metric: str, values: np.ndarray, chance: float | None = None) -> Row:
    """The mean of values of single items, with its standard error."""
    return next(_rows({metric: (values, chance)}))


def _rows(metrics: dict[str, tuple[np.ndarray, float | None]]) -> Iterator[Row]:
    """Several at once: values of the same items, and the chance of each metric."""
    values = np.array([own for own, _ in metrics.values()], float)
    n_items = values.shape[1]
    means = values.mean(axis=1).tolist()
    spreads: list[float | None] = [None] * len(metrics)
    if n_items > 1:
        spreads = (values.std(axis=1, ddof=1) / math.sqrt(n_items)).tolist()
    for (metric, (_, chance)), mean, sem in zip(metrics.items(), means, spreads, strict=True):
        yield {"metric": metric, "value": mean, "sem": sem, "n_items": n_items, "chance": chance}


def answer_rows(group: Group, answer: Scores, hits: Bool[np.ndarray, "items positions"]) -> Iterator[Row]:
    """Metrics of the right answers; `chance` is that of guessing evenly among each position's symbols."""
    even = [1 / n for n in group.choices]
    log_p = answer.log_p.astype(np.float64)
    yield from _rows(
        {
            "exact_match": (hits.all(axis=1).astype(float), math.prod(even)),
            "position_accuracy": (hits.mean(axis=1), sum(even) / len(even)),
            "p_answer": (np.exp(log_p.sum(axis=1)), math.prod(even)),
            "nll_per_token": (-log_p.mean(axis=1), sum(map(math.log, group.choices)) / len(even)),
            "margin": (answer.margin.min(axis=1), None),
        }
    )
    yield product_row(hits, math.prod(even))


def product_row(hits: Bool[np.ndarray, "items positions"], chance: float) -> Row:
    """Product of the accuracies of the positions; standard error to first order in theirs (delta method)."""
    accuracy = hits.mean(axis=0)
    found = row("position_accuracy_product", np.ones(len(hits)), chance)
    product = float(accuracy.prod())
    spread = None
    if accuracy.min() > 0 and len(hits) > 1:
        influence = product * (hits / accuracy).sum(axis=1)
        spread = float(influence.std(ddof=1) / math.sqrt(len(hits)))
    return found | {"value": product, "sem": spread}


def choice_rows(
    right: Float[np.ndarray, " items"], wrong: Float[np.ndarray, "items distractors"]
) -> Iterator[Row]:
    """Whether the right answer is the likeliest of all, and the Brier score, from log-probabilities.

    Brier: Σ over choices of (P(choice) − 1 where it is right)², P taken among the choices (Srivastava et al.,
    arXiv:2206.04615, appendix).
    """
    log_p = np.concatenate([right[:, None], wrong], axis=1).astype(np.float64)
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    truth = np.arange(p.shape[1]) == 0
    even = 1 / p.shape[1]
    yield row("multiple_choice_grade", (right > wrong.max(axis=1)).astype(float), even)
    yield row("brier", ((p - truth) ** 2).sum(axis=1), 1 - even)


def item_rows(group: Group, answer: Scores, hits: Bool[np.ndarray, "items positions"]) -> list[Row]:
    """One row for every item; position i of the answer is bit i of `hits`."""
    mask = (hits.astype(np.int64) << np.arange(hits.shape[1])).sum(axis=1)
    log_p = answer.log_p.astype(np.float64)
    margin = answer.margin.min(axis=1).astype(np.float64)
    own = (mask, hits.all(axis=1), log_p.sum(axis=1), -log_p.mean(axis=1), margin)
    names = ("hits", "exact_match", "log_p_answer", "nll_per_token", "margin")
    shared = {
        "task": group.task,
        "length": group.length,
        "n_shot": group.n_shot,
        "n_positions": hits.shape[1],
    }
    return [
        shared | {"item": item} | dict(zip(names, values, strict=True))
        for item, values in enumerate(zip(*(column.tolist() for column in own), strict=True))
    ]
