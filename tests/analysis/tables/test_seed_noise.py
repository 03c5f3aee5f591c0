"""Evaluation error that end points do not share, from tables whose interaction is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.tables.seed_noise import evaluation_error, interaction_variance, noise_report

ROWS, BLOCKS, SD = 60, 32, 0.01


def log_losses(rng: np.random.Generator, rows: int = ROWS, blocks: int = BLOCKS) -> np.ndarray:
    """Large effects of the end point and of the text, and an interaction of SD."""
    ends, texts = rng.normal(1, 0.3, (rows, 1)), rng.normal(0, 0.2, blocks)
    return np.asarray(ends + texts + rng.normal(0, SD, (rows, blocks)))


def table(losses: np.ndarray) -> pd.DataFrame:
    """Two seeds of each cell."""
    n = np.arange(len(losses))
    return pd.DataFrame(
        {
            "rung": [f"d{i // 2}" for i in n],
            "n_tokens": 1,
            "loss": losses.mean(axis=1),
            "loss_blocks": list(losses),
        }
    )


def test_the_interaction_is_what_rows_and_columns_leave() -> None:
    """By hand: a table of 2 × 2 with an interaction of ± 1; and none, however large the effects."""
    assert interaction_variance(np.array([[1.0, -1.0], [-1.0, 1.0]])) == pytest.approx(4.0)
    assert interaction_variance(np.add.outer([0.0, 5.0, 7.0], [1.0, -3.0])) == pytest.approx(0, abs=1e-20)


def test_a_known_interaction_is_found() -> None:
    """Over 20 tables, within 4 standard errors of a variance with its degrees of freedom."""
    rng = np.random.default_rng(0)
    found = [interaction_variance(log_losses(rng)) / SD**2 for _ in range(20)]
    assert np.mean(found) == pytest.approx(1, abs=4 * np.sqrt(2 / ((ROWS - 1) * (BLOCKS - 1)) / 20))


def test_the_share_is_of_the_seed_variance_and_what_all_share_does_not_count() -> None:
    losses = np.exp(log_losses(np.random.default_rng(1)))
    found = evaluation_error(table(losses), seed_sd=0.004)
    assert found is not None
    assert (found.n_points, found.n_blocks) == (ROWS, BLOCKS)
    assert found.se_relative == pytest.approx(SD / np.sqrt(BLOCKS), rel=0.1)
    assert found.share == pytest.approx((found.se_relative / 0.004) ** 2)
    harder = losses * np.exp(np.random.default_rng(2).normal(0, 1, BLOCKS))
    again = evaluation_error(table(harder), seed_sd=None)
    assert again is not None
    assert again.se_relative == pytest.approx(found.se_relative)
    assert again.share is None


def test_the_noise_report_has_it() -> None:
    losses = np.exp(log_losses(np.random.default_rng(3)))
    found = noise_report(table(losses))
    assert found.evaluation is not None
    assert found.pooled_relative is not None
    assert found.evaluation.share == pytest.approx(
        (found.evaluation.se_relative / found.pooled_relative) ** 2
    )


@pytest.mark.parametrize(
    "blocks",
    [
        [None, None, None, None],
        [[1.0, 2.0], None, None, None],
        [[1.0], [2.0], [1.0], [3.0]],
        [[1.0, 2.0], [1.0, 2.0, 3.0], None, None],
        [[1.0, -2.0], [1.0, 2.0], None, None],
        ["text", float("nan"), [1.0, 2.0], ["a", "b"]],
    ],
)
def test_without_comparable_blocks_nothing_is_said(blocks: list[object]) -> None:
    points = pd.DataFrame({"rung": "d16", "n_tokens": 1, "loss": [1.0, 2.0, 3.0, 4.0], "loss_blocks": blocks})
    assert evaluation_error(points, 0.01) is None
    assert evaluation_error(points.drop(columns="loss_blocks"), 0.01) is None
