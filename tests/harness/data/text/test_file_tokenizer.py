"""Tokenizers of files: the bytes of their tokens add up to the bytes of the text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from harness.data.build import DataConfig
from harness.data.prepare import prepare_corpus
from harness.data.tasks.mixture import TaskConfig
from harness.data.text.file_tokenizer import read_tokenizer
from harness.records.errors import InputError

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{code:02X}>" for code in range(256)]
LEARNT = ["Hello world, how are you?\n\tprint('x')  # 12345"] * 20
TEXTS = ["Hello  world", "naïve café 你好 \n\t x", " led by a space", "tail ", "<0x41> is text here"]


def byte_level(path: Path) -> None:
    """GPT-2 and Llama 3."""
    model = hf.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(LEARNT, trainer)
    model.add_tokens(["print("])
    model.save(str(path))


def byte_fallback(path: Path) -> None:
    """Llama 2: a space before each document, unknown characters as bytes."""
    model = hf.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    model.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    model.train_from_iterator(LEARNT, trainer)
    # As in its file, where bytes are tokens of the model and no special ones.
    content = model.to_str().replace('"special":true', '"special":false')
    path.write_text(content)


def metaspace(path: Path) -> None:
    """T5, with the bytes that it lacks."""
    model = hf.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    model.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    model.train_from_iterator(LEARNT, trainer)
    path.write_text(model.to_str())


def word_piece(path: Path) -> None:
    model = hf.Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    model.save(str(path))


@pytest.mark.parametrize("make", [byte_level, byte_fallback, metaspace])
def test_bytes_of_tokens_add_up_to_the_text(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "tokenizer.json")
    found = read_tokenizer(str(tmp_path / "tokenizer.json"))
    # The others read <0x41> as a byte, and one puts no space before a text that has its own.
    texts = TEXTS if make is byte_level else [text for text in TEXTS if not text.startswith((" ", "<"))]
    tokens = found.encode(texts)
    assert int(found.token_bytes[tokens].sum()) == sum(len(text.encode()) for text in texts)
    assert np.count_nonzero(tokens == found.separator) == len(texts)
    assert tokens.max() < found.vocab_size
    said = found.decode(tokens).split("<|endoftext|>")[:-1]
    assert [each.removeprefix(" ") for each in said] == [each.removeprefix(" ") for each in texts]


def test_a_mixture_of_texts_and_tags(tmp_path: Path) -> None:
    byte_level(tmp_path / "tokenizer.json")
    config = DataConfig(name="python", vocab_size=512, tokenizer=str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="has no room for the tags"):
        prepare_corpus(replace(config, tasks=(TaskConfig("copy", 0.1, (4,)),)), tmp_path / "cache")


def test_text_is_encoded_with_the_tokenizer_of_a_file(tmp_path: Path) -> None:
    byte_level(tmp_path / "tokenizer.json")
    (tmp_path / "text").mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        words = ["".join(rng.choice(list("abcdefgh "), 7)) for _ in range(80)]
        (tmp_path / "text" / f"{i}.txt").write_text(" ".join(words))
    config = DataConfig(
        name="text", path=str(tmp_path / "text"), vocab_size=512, min_eval_tokens=100,
        tokenizer=str(tmp_path / "tokenizer.json"), eval_fraction=0.1,
    )  # fmt: skip
    corpus = prepare_corpus(config, tmp_path / "cache")
    found = read_tokenizer(config.tokenizer)
    assert (corpus.vocab_size, corpus.tokenizer_id) == (found.vocab_size, found.tokenizer_id)
    assert corpus.n_train_bytes == corpus.report["train"]["bytes"]
    assert corpus.token_bytes is not None
    assert corpus.n_train_bytes == int(corpus.token_bytes[corpus.train].sum())
    read = corpus.report["steps"]["without near duplicates"]["bytes"]
    assert read == corpus.n_train_bytes + corpus.report["eval"]["bytes"]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (None, "cannot be read"),
        (lambda path: path.write_text("{}"), "is no tokenizer.json"),
        (lambda path: path.write_text("no JSON"), "is no tokenizer.json"),
        (word_piece, "does not keep every byte of a text"),
    ],
)
def test_a_file_that_is_no_tokenizer(write: Callable[[Path], None] | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if write:
        write(path)
    with pytest.raises(InputError, match=said):
        read_tokenizer(str(path))


def test_a_separator_that_is_not_there(tmp_path: Path) -> None:
    byte_level(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match=r"data\.separator=999 is no id of"):
        read_tokenizer(str(tmp_path / "tokenizer.json"), 999)
    assert read_tokenizer(str(tmp_path / "tokenizer.json"), 7).separator == 7
