"""Every text round-trips and every token knows its bytes."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.text.encode import encode_documents
from harness.data.text.tokenizer import (
    SEPARATOR,
    WORD,
    Tokenizer,
    check_vocabulary,
    token_dtype,
    train_tokenizer,
)
from harness.records.errors import InputError

TEXTS = [
    "def add(a, b):\n    return a + b\n\n\nclass Sum:\n    def __init__(self):\n        self.total = 0\n" * 3,
    "The quick brown fox — it jumps; 1234 times?\n" * 5,
]
BPE = train_tokenizer("bpe", TEXTS, 320)
BYTES = train_tokenizer("bytes", [], 257)
TOKENIZERS = pytest.mark.parametrize("tokenizer", [BPE, BYTES], ids=["bpe", "bytes"])

tokenized_texts = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), max_size=4)


@TOKENIZERS
@settings(deadline=None)
@given(texts=tokenized_texts)
def test_round_trip_and_bytes_are_exact(tokenizer: Tokenizer, texts: list[str]) -> None:
    tokens = tokenizer.encode(texts)
    assert tokenizer.decode(tokens) == "".join(text + SEPARATOR for text in texts)
    assert tokenizer.token_bytes[tokens].sum() == sum(len(text.encode()) for text in texts)
    assert (tokens == tokenizer.separator).sum() == len(texts)
    assert tokens.dtype == np.uint16


@settings(deadline=None)
@given(texts=st.lists(st.text(alphabet="ab_ \n\t1.é中(\u00a0\u2028"), min_size=1, max_size=3))
def test_encoding_word_by_word_equals_the_library(texts: list[str]) -> None:
    model = hf.Tokenizer.from_str(BPE.definition)
    expected = [index for text in texts for index in (*model.encode(text).ids, BPE.separator)]
    assert BPE.encode(texts).tolist() == expected


@TOKENIZERS
def test_text_that_spells_the_separator_is_text(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode([f"a {SEPARATOR} b"])
    assert (tokens == tokenizer.separator).tolist() == [False] * (len(tokens) - 1) + [True]


def test_processes_encode_as_one_does() -> None:
    texts = [*TEXTS, "", *TEXTS]
    share = sum(map(len, texts)) // 2
    assert encode_documents(BPE, texts, share).tolist() == BPE.encode(texts).tolist()


@TOKENIZERS
def test_no_text_gives_no_tokens(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode([])) == 0


def test_a_character_cut_in_two_is_shown_as_unknown() -> None:
    assert BYTES.decode(np.frombuffer("é".encode()[:1], np.uint8)) == "\ufffd"


def test_a_word_takes_the_last_space_before_it_with_it() -> None:
    pieces = ["\n   ", " return", " x", "_", "1", " +", " 23", "."]
    assert re.findall(WORD, "\n    return x_1 + 23.") == pieces


def test_frequent_words_become_one_token() -> None:
    assert b" self" in BPE.pieces or b"self" in BPE.pieces
    assert len(BPE.encode(TEXTS)) < 0.6 * len(BYTES.encode(TEXTS))


@pytest.mark.parametrize("n_tags", [0, 9])
def test_a_text_too_small_for_the_vocabulary_has_a_smaller_one(n_tags: int) -> None:
    tokenizer = train_tokenizer("bpe", ["ab ab ab"], 400, n_tags)
    assert tokenizer.pieces[-n_tags - 3 :] == (b"ab", b" ab", *[b""] * (n_tags + 1))
    assert tokenizer.separator == 258 + n_tags
    assert tokenizer.decode(tokenizer.encode(["ab x"])) == f"ab x{SEPARATOR}"
    with pytest.raises(InputError, match=f"outside {257 + n_tags}"):
        train_tokenizer("bpe", ["ab ab ab"], 256 + n_tags, n_tags)


def test_training_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "from harness.data.text.tokenizer import train_tokenizer\n"
        f"print(train_tokenizer('bpe', {TEXTS!r}, 320).tokenizer_id)"
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    }
    assert ids == {BPE.tokenizer_id}


def test_the_identifier_depends_on_vocabulary_and_merges() -> None:
    others = [train_tokenizer("bpe", TEXTS, 321), train_tokenizer("bpe", TEXTS[1:], 320), BYTES]
    assert len({tokenizer.tokenizer_id for tokenizer in [BPE, *others]}) == 4
    assert Tokenizer(BPE.vocab_size, BPE.definition).tokenizer_id == BPE.tokenizer_id


def test_only_the_first_texts_up_to_the_sample_size_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.text.tokenizer.TRAINING_BYTES", len(TEXTS[0]))
    assert train_tokenizer("bpe", TEXTS, 320) == train_tokenizer("bpe", TEXTS[:1], 320)


@pytest.mark.parametrize(
    ("kind", "vocab_size", "message"),
    [
        ("bpe", 256, "vocab_size=256 is outside 257"),
        ("bpe", 2**32 + 1, "32-bit"),
        ("bytes", 512, "set vocab_size=257"),
        ("words", 512, "use bpe or bytes"),
    ],
)
def test_vocabularies_that_cannot_be_made(kind: str, vocab_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_vocabulary(kind, vocab_size)


def test_the_token_file_type_holds_every_id() -> None:
    for size in (257, 2**16, 2**16 + 1, 2**32):
        check_vocabulary("bpe", size)
        assert np.iinfo(token_dtype(size)).max >= size - 1
    assert token_dtype(2**16) == np.uint16
