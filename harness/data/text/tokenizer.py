"""Byte-level BPE or plain bytes: every text round-trips, and every token knows how many bytes it stands for.

The last id of a vocabulary is the document separator. It is no entry of the BPE model, so a document that
happens to contain its name is tokenised like any other text.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tokenizers as hf
from jaxtyping import Int64, UInt
from tokenizers import decoders, models, pre_tokenizers, trainers

from harness.records.errors import InputError

SEPARATOR = "<|endoftext|>"
KINDS = ("bpe", "bytes")
# Text enough for a few thousand merges; more changes hardly any of them and costs a second per 3 MB.
TRAINING_BYTES = 12_000_000

# Words with the space before them, numbers, punctuation, and spaces but for the last one before a word: the
# split of GPT-2, with classes that Python and the Rust library read alike.
_LETTERS = "A-Za-z\u0080-\U0010ffff"
_SPACES = "\t\n\x0b\x0c\r "
WORD = f" ?[{_LETTERS}]+| ?[0-9]+| ?[^{_LETTERS}0-9{_SPACES}]+|[{_SPACES}]+(?![^{_SPACES}])|[{_SPACES}]+"


@dataclass(frozen=True)
class Tokenizer:
    """`definition` is the whole tokenizer as text: JSON of the BPE model, or empty for bytes."""

    vocab_size: int
    definition: str

    @property
    def separator(self) -> int:
        return self.vocab_size - 1

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        return token_dtype(self.vocab_size)

    @cached_property
    def tokenizer_id(self) -> str:
        return hashlib.sha256(f"{self.vocab_size} {self.definition}".encode()).hexdigest()[:12]

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """Bytes of every token; empty for the separator and for ids that training did not fill."""
        if not self.definition:
            return (*(bytes([code]) for code in range(256)), b"")
        model = hf.Tokenizer.from_str(self.definition)
        pieces = [b""] * self.vocab_size
        for token, index in model.get_vocab().items():
            pieces[index] = bytes(_BYTE_OF_CHARACTER[character] for character in token)
        return tuple(pieces)

    @property
    def token_bytes(self) -> Int64[np.ndarray, "vocab"]:
        return np.array([len(piece) for piece in self.pieces], np.int64)

    def encode(self, texts: list[str]) -> UInt[np.ndarray, "tokens"]:
        """Tokens of all texts, each followed by the separator.

        Text repeats itself: each distinct word goes through the BPE model once, the rest is indexing.
        """
        if not self.definition:
            return self._encode_bytes(texts)
        split = re.compile(WORD)
        numbers = _Numbering()
        numbered = [np.fromiter(map(numbers.__getitem__, split.findall(text)), np.int64) for text in texts]
        model = hf.Tokenizer.from_str(self.definition)
        encodings = [encoding.ids for encoding in model.encode_batch_fast(list(numbers))]
        # One more "word" stands for the end of a document.
        encodings.append([self.separator])
        lengths = np.array([len(ids) for ids in encodings])
        starts = np.cumsum(lengths) - lengths
        flat = np.concatenate([np.asarray(ids, self.dtype) for ids in encodings])
        end = len(encodings) - 1
        parts = [flat[_ranges(starts, lengths, np.append(words, end))] for words in numbered]
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def decode(self, tokens: np.ndarray) -> str:
        """Text of `tokens`, separators shown by name; a character cut in two becomes U+FFFD."""
        pieces = self.pieces
        named = (SEPARATOR.encode() if token == self.separator else pieces[token] for token in tokens)
        return b"".join(named).decode("utf-8", errors="replace")

    def _encode_bytes(self, texts: list[str]) -> UInt[np.ndarray, "tokens"]:
        end = np.array([self.separator], self.dtype)
        parts = [np.frombuffer(text.encode("utf-8"), np.uint8).astype(self.dtype) for text in texts]
        return np.concatenate([part for text in parts for part in (text, end)] or [end[:0]])


class _Numbering(dict[str, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: str) -> int:
        number = len(self)
        self[key] = number
        return number


def check_vocabulary(kind: str, vocab_size: int) -> None:
    """Raise InputError unless `vocab_size` ids (separator included) can be made and stored."""
    if kind not in KINDS:
        raise InputError(f"data.tokenizer={kind} is unknown: use bpe or bytes.")
    if kind == "bytes" and vocab_size != 257:
        raise InputError(
            f"data.tokenizer=bytes has 257 ids (256 bytes and the separator), got vocab_size={vocab_size}: "
            "set vocab_size=257 or data.tokenizer=bpe."
        )
    if not 257 <= vocab_size <= 2**32:
        raise InputError(
            f"vocab_size={vocab_size} is outside 257 (256 bytes and the separator) to 2^32 (32-bit token "
            "files): choose a size between, such as 512."
        )


def train_tokenizer(kind: str, texts: list[str], vocab_size: int, n_tags: int = 0) -> Tokenizer:
    """Learn byte-level BPE on the first TRAINING_BYTES of `texts`; bytes need no training.

    The last `n_tags` ids before the separator are left free: no text becomes one of them.
    """
    check_vocabulary(kind, vocab_size)
    if kind == "bytes":
        return Tokenizer(vocab_size, "")
    model = hf.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(hf.Regex(WORD), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1 - n_tags,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(_sample(texts), trainer)
    return Tokenizer(vocab_size, model.to_str())


def token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    return np.uint16 if vocab_size <= 2**16 else np.uint32


def _sample(texts: list[str]) -> list[str]:
    sizes = np.cumsum([len(text) for text in texts])
    return texts[: int(np.searchsorted(sizes, TRAINING_BYTES)) + 1]


def _ranges(starts: np.ndarray, lengths: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Concatenated ranges starts[i] .. starts[i] + lengths[i] for i in `chosen`."""
    sizes = lengths[chosen]
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts[chosen] - ends + sizes, sizes)


def _byte_alphabet() -> dict[str, int]:
    """Character that byte-level BPE shows for each byte (Radford et al. 2019, the GPT-2 code)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [code for code in range(256) if code not in shown]
    characters = {chr(code): code for code in shown}
    return characters | {chr(256 + place): code for place, code in enumerate(hidden)}


_BYTE_OF_CHARACTER = _byte_alphabet()
