"""Order of windows: each once per epoch, seekable, the same for all batch sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.tokens.windows import Order, eval_windows
from harness.records.errors import InputError

orders = st.builds(
    Order,
    n_train_tokens=st.integers(40, 400),
    seq_len=st.integers(1, 13),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 5),
)


def stream(order: Order) -> np.ndarray:
    return np.arange(order.n_train_tokens, dtype=np.uint16)


def starts(order: Order, first_step: int, n: int) -> np.ndarray:
    """First token of each window read, in order."""
    return order.batches(stream(order), first_step, n)[:, :, 0].ravel()


@settings(deadline=None)
@given(order=orders, epoch=st.integers(0, 2))
def test_each_window_comes_once_per_epoch(order: Order, epoch: int) -> None:
    first, last = epoch * order.n_windows, (epoch + 1) * order.n_windows
    read = starts(order, 0, -(-last // order.batch_size))[first:last]
    assert sorted(read) == [order.seq_len * window for window in range(order.n_windows)]


@settings(deadline=None)
@given(order=orders, first_step=st.integers(0, 60), n=st.integers(1, 12))
def test_any_step_can_be_reached_directly(order: Order, first_step: int, n: int) -> None:
    tokens = stream(order)
    together = order.batches(tokens, first_step, n)
    one_by_one = [order.batch(tokens, first_step + step) for step in range(n)]
    np.testing.assert_array_equal(together, one_by_one)
    assert together.shape == (n, order.batch_size, order.seq_len + 1)
    assert together.dtype == np.int32


@settings(deadline=None)
@given(order=orders, batch_size=st.integers(1, 9))
def test_the_order_does_not_depend_on_the_batch_size(order: Order, batch_size: int) -> None:
    other = Order(order.n_train_tokens, order.seq_len, batch_size, order.seed)
    count = 5 * order.batch_size * batch_size
    left = starts(order, 0, count // order.batch_size)
    np.testing.assert_array_equal(left, starts(other, 0, count // batch_size))


@settings(deadline=None)
@given(order=orders)
def test_windows_are_text_with_one_target_more(order: Order) -> None:
    windows = order.batch(stream(order), 0)
    np.testing.assert_array_equal(windows, windows[:, :1] + np.arange(order.seq_len + 1))


def test_seeds_and_epochs_differ() -> None:
    order, other = Order(10_001, 10, 100, 0), Order(10_001, 10, 100, 1)
    first, second = starts(order, 0, 10), starts(order, 10, 10)
    assert (first != second).mean() > 0.9
    assert (first != starts(other, 0, 10)).mean() > 0.9
    assert (np.diff(first) == 10).mean() < 0.1


def test_epochs_and_unique_tokens() -> None:
    order = Order(1_005, 10, 4, 0)
    assert order.n_windows == 100
    assert order.epochs(2_500) == 2.5
    assert [order.unique_tokens(n) for n in (400, 1_000, 2_500)] == [400, 1_000, 1_000]


def test_a_corpus_shorter_than_a_window() -> None:
    assert Order(11, 10, 1, 0).n_windows == 1
    with pytest.raises(InputError, match="needs 11"):
        Order(10, 10, 1, 0)


def test_an_order_refuses_another_corpus() -> None:
    with pytest.raises(ValueError, match="over 100 tokens, got 99"):
        Order(100, 10, 1, 0).batch(np.arange(99), 0)


def test_evaluation_windows_cover_the_text_once_and_never_change() -> None:
    tokens = np.arange(1_001, dtype=np.uint32)
    windows = eval_windows(tokens, 10, 1_000)
    assert windows.shape == (100, 11)
    np.testing.assert_array_equal(windows[:, 1:].ravel(), tokens[1:])
    np.testing.assert_array_equal(windows, eval_windows(tokens, 10, 1_000))


def test_fewer_evaluation_windows_are_spread_over_the_text() -> None:
    windows = eval_windows(np.arange(1_001), 10, 209)
    assert windows.shape == (20, 11)
    np.testing.assert_array_equal(windows[:, 0], np.arange(0, 1_000, 50))


@pytest.mark.parametrize("n_tokens", [9, 1_010])
def test_evaluation_sizes_that_cannot_be_reached(n_tokens: int) -> None:
    with pytest.raises(InputError, match=r"expected 10 to 1000"):
        eval_windows(np.arange(1_001), 10, n_tokens)


@pytest.mark.parametrize("seed", range(5))
def test_every_stretch_of_the_order_reads_all_parts_of_the_corpus(seed: int) -> None:
    order = Order(10 * 3000 + 1, 10, 4, seed)
    read = starts(order, 0, 750) // 10
    for first in range(0, 3000 - 300, 100):
        parts = np.histogram(read[first : first + 300], bins=10, range=(0, 3000))[0]
        assert np.ptp(parts) <= 6, "a plain shuffle spreads by 16 on average"
