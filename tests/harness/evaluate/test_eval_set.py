"""Loss of a mixture from the losses of its sources."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.evaluate.eval_set import SourceWindows
from harness.evaluate.loss import _mixed, block_losses, block_sem

SEQ_LEN = 8


def drawn(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.normal(2 + index, 0.5, size) for index, size in enumerate(sizes)]


def parts(
    sizes: tuple[int, ...], weights: tuple[float, ...], n_bytes: int | None = 16
) -> tuple[SourceWindows, ...]:
    ends = np.cumsum(sizes).tolist()
    return tuple(
        SourceWindows(
            f"s{index}", weight, end - size, end, None if n_bytes is None else size * n_bytes * (index + 1)
        )
        for index, (size, weight, end) in enumerate(zip(sizes, weights, ends, strict=True))
    )


def test_the_loss_weighs_sources_and_not_windows() -> None:
    sizes, weights = (320, 64, 48), (0.7, 0.3, 0.0)
    losses = drawn(np.random.default_rng(0), sizes)
    found = _mixed(np.concatenate(losses), parts(sizes, weights), SEQ_LEN)
    assert found.loss == pytest.approx(0.7 * losses[0].mean() + 0.3 * losses[1].mean(), rel=1e-12)
    assert [each.loss for each in found.sources] == pytest.approx([each.mean() for each in losses])
    assert [each.n_windows for each in found.sources] == list(sizes)
    # Two and four bytes a token, 70 % and 30 % of the tokens.
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2) / (0.7 * 2 + 0.3 * 4))
    assert found.sources[1].bits_per_byte == pytest.approx(losses[1].mean() / math.log(2) / 4)
    unknown = _mixed(np.concatenate(losses), parts(sizes, weights, None), SEQ_LEN)
    assert unknown.bits_per_byte is None
    assert unknown.sources[0].bits_per_byte is None


def test_the_error_is_that_of_strata() -> None:
    """The standard error of the mean of strata: 400 evaluation sets drawn anew."""
    rng, sizes, weights = np.random.default_rng(1), (320, 160), (0.8, 0.2)
    found = [_mixed(np.concatenate(drawn(rng, sizes)), parts(sizes, weights), SEQ_LEN) for _ in range(400)]
    actual = np.std([each.loss for each in found], ddof=1)
    assert np.sqrt(np.mean([(each.loss_sem or 0) ** 2 for each in found])) == pytest.approx(actual, rel=0.12)
    # The difference between sources is no error.
    assert actual < 0.1 * np.std([2, 3])


def test_blocks_have_the_weights_of_the_mixture() -> None:
    sizes, weights = (320, 70, 40), (0.5, 0.5, 0.0)
    losses = drawn(np.random.default_rng(2), sizes)
    found = _mixed(np.concatenate(losses), parts(sizes, weights), SEQ_LEN)
    expected = 0.5 * np.array(block_losses(losses[0])) + 0.5 * np.array(block_losses(losses[1]))
    assert found.loss_blocks == pytest.approx(expected)
    few = _mixed(np.concatenate([losses[0], losses[1][:5]]), parts((320, 5), (0.5, 0.5)), SEQ_LEN)
    assert len(few.loss_blocks) == 5
    assert few.loss_sem is None


def test_one_source_is_a_corpus() -> None:
    losses = drawn(np.random.default_rng(3), (320,))[0]
    found = _mixed(losses, parts((320,), (1.0,)), SEQ_LEN)
    assert found.loss == pytest.approx(losses.mean())
    assert found.loss_sem == pytest.approx(block_sem(losses))
    assert found.loss_blocks == pytest.approx(block_losses(losses))
