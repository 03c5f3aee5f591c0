"""The entropy rate is exact: against brute force, and against generated text."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.build import DataConfig
from harness.data.prepare import prepare_corpus
from harness.data.synthetic import MIN_CHAIN, Source, make_source, n_chains, window_entropy
from harness.records.errors import InputError

sources = st.builds(
    make_source,
    vocab_size=st.integers(2, 6),
    order=st.integers(1, 3),
    branching=st.integers(1, 5),
    zipf=st.floats(0, 2),
    seed=st.integers(0, 99),
)


def table(source: Source) -> np.ndarray:
    """P(symbol | context) for every pair, [contexts, vocab]."""
    n_contexts = source.vocab_size**source.order
    contexts, symbols = np.divmod(np.arange(n_contexts * source.vocab_size), source.vocab_size)
    return source.probability(contexts, symbols).reshape(n_contexts, source.vocab_size)


def entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


@settings(max_examples=40, deadline=None)
@given(sources)
def test_entropies_equal_brute_force(source: Source) -> None:
    p = table(source)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(source.context_entropies(), entropy(p))
    size, order = source.vocab_size, source.order
    move = np.zeros((size**order, size**order))
    for context, symbol in product(range(size**order), range(size)):
        move[context, (context * size + symbol) % size**order] += p[context, symbol]
    np.testing.assert_allclose(source.stationary @ move, source.stationary, atol=1e-11)
    np.testing.assert_allclose(source.stationary.sum(), 1)
    conditional = source.conditional_entropies()
    assert len(conditional) == order + 1
    assert np.all(np.diff(conditional) <= 1e-9)
    joint = (source.stationary[:, None] * p).reshape(-1, size, size).sum(axis=0)
    np.testing.assert_allclose(conditional[1], entropy(joint.ravel()) - entropy(joint.sum(axis=1)), atol=1e-9)


@pytest.mark.parametrize(("vocab_size", "order"), [(64, 2), (16, 3)])
def test_generated_text_has_the_stated_entropy(vocab_size: int, order: int) -> None:
    source = make_source(vocab_size, order, 4, 1.0, 0)
    symbols = source.generate(2**19, 0, 1)
    chains = symbols.reshape(n_chains(len(symbols)), -1).astype(np.int64)
    length = chains.shape[1] - order
    context = sum(chains[:, i : i + length] * vocab_size ** (order - 1 - i) for i in range(order))
    surprise = -np.log(source.probability(np.ravel(context), chains[:, order:].ravel()))
    means = surprise.reshape(len(chains), -1).mean(axis=1)
    error = means.std(ddof=1) / len(means) ** 0.5
    rate = source.conditional_entropies()[-1]
    assert error < 0.01
    assert abs(means.mean() - rate) < 4 * error
    observed = np.bincount(symbols, minlength=vocab_size) / len(symbols)
    expected = source.stationary.reshape(-1, vocab_size).sum(axis=0)
    assert abs(entropy(observed) - entropy(expected)) < 0.01


def test_streams_are_reproducible_and_independent() -> None:
    source = make_source(16, 2, 4, 1.0, 0)
    first = source.generate(50_000, 0, 1)
    np.testing.assert_array_equal(first, source.generate(50_000, 0, 1))
    for other in (source.generate(50_000, 0, 2), source.generate(50_000, 1, 1)):
        assert (first != other).mean() > 0.5
    assert (table(source) != table(make_source(16, 2, 4, 1.0, 1))).any()


@pytest.mark.parametrize("n_tokens", [1, MIN_CHAIN, 10 * MIN_CHAIN + 3, 70_001])
def test_any_number_of_symbols(n_tokens: int) -> None:
    symbols = make_source(5, 1, 2, 1.0, 0).generate(n_tokens, 0, 1)
    assert len(symbols) == n_tokens
    assert symbols.max() < 5


def test_the_floor_of_a_window_counts_its_short_contexts() -> None:
    conditional = (4.0, 3.0, 2.0)
    assert window_entropy(conditional, 1) == 3.0
    assert window_entropy(conditional, 4) == (3 + 2 + 2 + 2) / 4


def test_longer_contexts_tell_more_of_a_default_source() -> None:
    conditional = make_source(128, 2, 4, 1.0, 0).conditional_entropies()
    assert np.all(np.diff(conditional) < -0.3)
    assert conditional[-1] > 1


@pytest.mark.parametrize("change", [{"vocab_size": 1}, {"order": 0}, {"branching": 0}, {"vocab_size": 2000}])
def test_sources_that_cannot_be_made(change: dict[str, int]) -> None:
    settings_ = {"vocab_size": 8, "order": 2, "branching": 2, "seed": 0} | change
    with pytest.raises(InputError, match="lower vocab_size or markov_order"):
        make_source(zipf=1.0, **settings_)


def test_a_synthetic_corpus_knows_its_entropy(tmp_path: Path) -> None:
    config = DataConfig("synthetic", 32, synthetic_tokens=30_000, min_eval_tokens=5_000)
    corpus = prepare_corpus(config, tmp_path)
    assert (corpus.n_train_tokens, corpus.n_eval_tokens) == (30_000, 5_000)
    assert corpus.entropy_rate == corpus.report["conditional_entropies"][-1]
    assert corpus.token_bytes.tolist() == [1] * 32
    assert corpus.tokenizer is None
    assert corpus.n_documents == n_chains(30_000)
    again = prepare_corpus(config, tmp_path)
    assert again.corpus_id == corpus.corpus_id
    np.testing.assert_array_equal(again.train, corpus.train)
