"""Sampling: the cache changes nothing, and draws follow the model's probabilities."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from harness.model.decoder import Decoder
from harness.records.errors import InputError
from harness.weights.run import load_run
from harness.weights.sampling import CachedReader, draw, padded_logits, sample_tokens, streamed_text
from tests.fakes.trained import TOKENIZER
from tests.recipes import ALL_OPTIONS, OPTIONS, SEQ_LEN, model

PIECES = TOKENIZER.pieces
LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05]))


@pytest.mark.parametrize("name", ["d16", "d8"])
def test_token_by_token_equals_whole_passes(trained: Path, name: str) -> None:
    """Also where the context is full, and the latter half of it goes on."""
    run = load_run(trained, name)
    prompt = [256, *b"one t"]
    reader = CachedReader(run.spec.model, run.decoder)
    for context in (prompt, [*prompt, 104], [*prompt, 104, 114, 101], prompt[2:], [*b"one two three on"]):
        np.testing.assert_allclose(reader.logits(context), run.logits(context)[-1], atol=1e-4)
    written = list(islice(sample_tokens(run.spec.model, run.decoder, prompt, temperature=0), 3 * SEQ_LEN))
    context = list(prompt)
    for token in written:
        context = context[-(SEQ_LEN // 2) :] if len(context) > SEQ_LEN else context
        logits = run.logits(context)[-1]
        assert logits[token] >= logits.max() - 1e-4
        context.append(token)


@pytest.mark.parametrize("changes", [*OPTIONS.values(), ALL_OPTIONS], ids=[*OPTIONS, "all"])
def test_every_option_of_the_shape_reads_token_by_token(changes: dict[str, Any]) -> None:
    spec = model(**changes)
    decoder = Decoder(spec, nnx.Rngs(0))
    tokens = np.random.default_rng(0).integers(0, spec.vocab_size, SEQ_LEN)
    whole, reader = padded_logits(spec, decoder)(tokens[None])[0], CachedReader(spec, decoder)
    for n in (1, SEQ_LEN // 2, SEQ_LEN):
        np.testing.assert_allclose(reader.logits(list(tokens[:n])), whole[n - 1], atol=1e-5)


def test_a_model_with_experts_sees_no_later_token() -> None:
    spec = model(n_experts=4, capacity_factor=0.5)
    decoder = Decoder(spec, nnx.Rngs(0))
    logits = padded_logits(spec, decoder)
    tokens = np.random.default_rng(0).integers(0, spec.vocab_size, (1, SEQ_LEN))
    np.testing.assert_allclose(logits(tokens)[:, :5], logits(tokens[:, :5]), atol=1e-5)
    (first,) = islice(sample_tokens(spec, decoder, list(tokens[0, :5]), temperature=0), 1)
    assert first == logits(tokens[:, :5])[0, -1].argmax()


def frequencies(n: int = 4000, **options: float) -> list[float]:
    rng = np.random.default_rng(0)
    given = {"temperature": 1.0, "top_p": 1.0} | options
    counts = Counter(draw(LOGITS, rng=rng, **given) for _ in range(n))
    return [counts[token] / n for token in range(4)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365),
        ({"top_p": 0.79}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.81}, np.array([0.5, 0.3, 0.15, 0]) / 0.95),
        ({"top_p": 1e-9}, [1, 0, 0, 0]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"temperature": 1e-9}, [1, 0, 0, 0]),
    ],
)
def test_draws_have_the_probabilities_asked_for(options: dict[str, float], expected: list[float]) -> None:
    np.testing.assert_allclose(frequencies(**options), expected, atol=0.03)


def test_equal_seeds_give_equal_text(trained: Path) -> None:
    run = load_run(trained, "d16")
    texts = ["".join(run.sample("one ", n_tokens=12, seed=seed)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_a_character_of_several_tokens_comes_whole_and_a_document_ends() -> None:
    tokens = [*"aµ".encode(), 0xE2, 0x82, ord("b"), 256, ord("c")]
    assert list(streamed_text(PIECES, 256, iter(tokens), 99)) == ["a", "µ", "\ufffdb"]
    assert "".join(streamed_text(PIECES, 256, iter(tokens), 2)) == "a\ufffd"
    assert list(streamed_text(PIECES[:98], 256, iter([97, 99, 98]), 3)) == ["a"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -0.1}, "at least 0 was expected and -0.1"),
        ({"temperature": float("nan")}, "temperature of at least 0"),
        ({"top_p": 0}, "above 0 and up to 1"),
        ({"top_p": 1.5}, "above 0 and up to 1"),
        ({"seed": -1}, "seed of at least 0"),
        ({"n_tokens": 0}, "at least 1 token"),
        ({"prompt": "\udc80"}, "no UTF-8 at character 0"),
    ],
)
def test_numbers_out_of_range_are_one_sentence(trained: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_run(trained, "d8").sample(**options)  # type: ignore[arg-type]


def test_a_prompt_may_be_empty_or_longer_than_the_context(trained: Path) -> None:
    run = load_run(trained, "d8")
    for prompt in ("", "one two three " * 9):
        assert "".join(run.sample(prompt, n_tokens=3, temperature=0)) is not None


def test_the_words_of_the_corpus_come_out(trained: Path) -> None:
    """Trained for 128 steps it spells at least letters of its four words."""
    text = "".join(load_run(trained, "d16").sample("one two ", n_tokens=200, seed=3))
    assert sum(letter in "onetwhr µ" for letter in text) > 0.8 * len(text)
