"""Metrics of test items: rows of evals.parquet and items.parquet from token scores.

Smooth metrics stand beside exact match, which looks like a jump for long answers even if each token's
accuracy rises smoothly (Schaeffer et al., arXiv:2304.15004, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from harness.data.tasks.items import Group
from harness.evaluate.token_scores import Scores

# Part of a table row; the journal of the run adds run, point and token count.
Row = dict[str, Any]


def row(metric: str, values: np.ndarray, chance: float | None = None) -> Row:
    """Return the row of one metric: the mean of per-item values with its standard error.

    Args:
        metric: name of the metric.
        values: values [items].
        chance: expected value under uniform guessing; None if there is no such number.
    """
    return next(_rows({metric: (values, chance)}))


def _rows(metrics: dict[str, tuple[np.ndarray, float | None]]) -> Iterator[Row]:
    """Yield one row per metric; `metrics` maps a name to values [items] and the chance level."""
    values = np.array([own for own, _ in metrics.values()], float)
    n_items = values.shape[1]
    means = values.mean(axis=1).tolist()
    spreads: list[float | None] = [None] * len(metrics)
    if n_items > 1:
        spreads = (values.std(axis=1, ddof=1) / math.sqrt(n_items)).tolist()
    for (metric, (_, chance)), mean, sem in zip(metrics.items(), means, spreads, strict=True):
        yield {"metric": metric, "value": mean, "sem": sem, "n_items": n_items, "chance": chance}


def answer_rows(group: Group, answer: Scores, hits: Bool[np.ndarray, "items positions"]) -> Iterator[Row]:
    """Yield the metrics of the right answers; `chance` is uniform guessing among each position's symbols.

    Args:
        group: the items.
        answer: scores of the right answers [items, positions], with teacher forcing.
        hits: whether the greedy choice is the right token.
    """
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
    """Return the product over positions of the accuracy at each position, with its standard error.

    If errors at different positions were independent, the product would be the share of exact matches. The
    standard error is of first order (delta method); it is None if one accuracy is 0 or there is one item.

    References: Schaeffer et al., arXiv:2304.15004, section 2 (the independent model).
    """
    accuracy = hits.mean(axis=0)
    found = row("position_accuracy_product", np.ones(len(hits)), chance)
    product = float(accuracy.prod())
    spread = None
    if accuracy.min() > 0 and len(hits) > 1:
        # Influence function: derivative of the product with respect to an item's weight, up to a constant.
        influence = product * (hits / accuracy).sum(axis=1)
        spread = float(influence.std(ddof=1) / math.sqrt(len(hits)))
    return found | {"value": product, "sem": spread}


def choice_rows(
    right: Float[np.ndarray, " items"], wrong: Float[np.ndarray, "items distractors"]
) -> Iterator[Row]:
    """Yield the multiple-choice grade and the Brier score of answers among distractors.

    The grade is 1 if the right answer is the likeliest, 0 otherwise. The Brier score is Σ over choices of
    (P(choice) − truth)²: P is normalised over the choices, truth is 1 for the right one and 0 for the others.

    Args:
        right: log-probabilities of the right answers, nats.
        wrong: log-probabilities of the distractors, nats.

    References: Srivastava et al., arXiv:2206.04615, appendix.
    """
    log_p = np.concatenate([right[:, None], wrong], axis=1).astype(np.float64)
    # The likeliest choice gets exponent 0, because probabilities of long answers underflow.
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    truth = np.arange(p.shape[1]) == 0
    # A tie counts as wrong. Equal probabilities for n choices have the Brier score 1 − 1/n.
    even = 1 / p.shape[1]
    yield row("multiple_choice_grade", (right > wrong.max(axis=1)).astype(float), even)
    yield row("brier", ((p - truth) ** 2).sum(axis=1), 1 - even)


def item_rows(group: Group, answer: Scores, hits: Bool[np.ndarray, "items positions"]) -> list[Row]:
    """Return one row of items.parquet per item; bit i of its `hits` is 1 if position i is right.

    Arguments are those of `answer_rows`.
    """
    # The longest answers have 59 tokens (copy and reverse in a document of 120), so a mask fits 64 bits.
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
