"""Byte-level BPE or plain bytes: every text round-trips, and the bytes of every token are known.

The last id of a vocabulary is the document separator. It is no entry of the BPE model, so a document that
contains the separator's name is tokenised like any other text.

References: Sennrich et al., arXiv:1508.07909, section 3.2 (BPE); Radford et al. 2019 (bytes as its alphabet,
GPT-2).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tokenizers as hf
from jaxtyping import Int64, UInt
from tokenizers import decoders, models, pre_tokenizers, trainers

from harness.records.errors import InputError

SEPARATOR = "<|endoftext|>"
KINDS = ("bpe", "bytes")
# Enough text for a few thousand merges: more text changes hardly any of them and costs a second per 3 MB.
TRAINING_BYTES = 12_000_000

# GPT-2's split into words with the space before them, numbers, punctuation and white space. The last space
# before a word belongs to the word. Python and the Rust library read these classes alike.
_LETTERS = "A-Za-z\u0080-\U0010ffff"
_SPACES = "\t\n\x0b\x0c\r "
WORD = f" ?[{_LETTERS}]+| ?[0-9]+| ?[^{_LETTERS}0-9{_SPACES}]+|[{_SPACES}]+(?![^{_SPACES}])|[{_SPACES}]+"


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer, as its whole definition.

    Attributes:
        vocab_size: number of token ids, the separator included.
        definition: JSON of the BPE model; empty for bytes.
    """

    vocab_size: int
    definition: str

    @property
    def separator(self) -> int:
        """Id of the document separator."""
        return self.vocab_size - 1

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Type of the token files."""
        return token_dtype(self.vocab_size)

    @cached_property
    def tokenizer_id(self) -> str:
        """Hash of the whole tokenizer."""
        return hashlib.sha256(f"{self.vocab_size} {self.definition}".encode()).hexdigest()[:12]

    @cached_property
    def _model(self) -> hf.Tokenizer:
        return hf.Tokenizer.from_str(self.definition)

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """Bytes of every token; empty for the separator and for ids that training did not fill."""
        if not self.definition:
            return (*(bytes([code]) for code in range(256)), b"")
        pieces = [b""] * self.vocab_size
        for token, index in self._model.get_vocab().items():
            pieces[index] = bytes(BYTE_OF_CHARACTER[character] for character in token)
        return tuple(pieces)

    @property
    def token_bytes(self) -> Int64[np.ndarray, "vocab"]:
        """Number of bytes that each token stands for."""
        return np.array([len(piece) for piece in self.pieces], np.int64)

    def encode(self, texts: list[str]) -> UInt[np.ndarray, "tokens"]:
        """Return the tokens of all texts in one array, each text followed by the separator."""
        if not self.definition:
            return self._encode_bytes(texts)
        # Text repeats itself: each distinct word goes through the BPE model once, the rest is indexing.
        split = re.compile(WORD)
        numbers = _Numbering()
        numbered = [np.fromiter(map(numbers.__getitem__, split.findall(text)), np.int64) for text in texts]
        encodings = [encoding.ids for encoding in self._model.encode_batch_fast(list(numbers))]
        # One more word stands for the end of a document.
        encodings.append([self.separator])
        lengths = np.array([len(ids) for ids in encodings])
        starts = np.cumsum(lengths) - lengths
        flat = np.concatenate([np.asarray(ids, self.dtype) for ids in encodings])
        end = len(encodings) - 1
        parts = [flat[_ranges(starts, lengths, np.append(words, end))] for words in numbered]
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def decode(self, tokens: np.ndarray) -> str:
        """Return the text of `tokens`, separators shown by name; a character cut in two becomes U+FFFD."""
        return decoded(tokens, self.pieces, self.separator)

    def _encode_bytes(self, texts: list[str]) -> UInt[np.ndarray, "tokens"]:
        """Return the bytes of all texts as tokens, each text followed by the separator."""
        end = np.array([self.separator], self.dtype)
        parts = [np.frombuffer(text.encode("utf-8"), np.uint8).astype(self.dtype) for text in texts]
        return np.concatenate([part for text in parts for part in (text, end)] or [end[:0]])


def decoded(tokens: np.ndarray, pieces: Sequence[bytes], separator: int | None) -> str:
    """Return the text of `tokens` from the bytes of each token, separators shown by name."""
    named = (SEPARATOR.encode() if token == separator else pieces[token] for token in tokens)
    return b"".join(named).decode("utf-8", errors="replace")


class _Numbering(dict[str, int]):
    """A dict that gives each new key the next number."""

    def __missing__(self, key: str) -> int:
        number = len(self)
        self[key] = number
        return number


def check_vocabulary(kind: str, vocab_size: int, n_tags: int = 0) -> None:
    """Raise InputError unless `vocab_size` ids, tags and separator included, can be made and stored."""
    if kind not in KINDS:
        raise InputError(f"data.tokenizer={kind} is unknown: use bpe or bytes")
    if kind == "bytes" and vocab_size != 257:
        raise InputError(
            f"data.tokenizer=bytes has 257 ids (256 bytes and the separator), got vocab_size={vocab_size}: "
            "set vocab_size=257 or data.tokenizer=bpe"
        )
    least, parts = 257 + n_tags, f"256 bytes, {n_tags} tags of tasks" if n_tags else "256 bytes"
    if not least <= vocab_size <= 2**32:
        raise InputError(
            f"vocab_size={vocab_size} is outside {least} ({parts} and the separator) to 2^32 (32-bit token "
            "files): choose a size between, such as 512"
        )


def train_tokenizer(kind: str, texts: list[str], vocab_size: int, n_tags: int = 0) -> Tokenizer:
    """Learn a byte-level BPE model on a sample of `texts`; bytes need no training.

    Args:
        kind: `bpe` or `bytes`.
        texts: training documents; the first of them, about TRAINING_BYTES characters, are the sample.
        vocab_size: largest number of token ids, the separator included.
        n_tags: ids before the separator that are left free: no text becomes one of them.

    Returns:
        A tokenizer whose vocabulary is smaller than `vocab_size` if the texts hold too few different pairs.

    Raises:
        InputError: the vocabulary cannot be made.
    """
    check_vocabulary(kind, vocab_size, n_tags)
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
    # All 256 bytes are in the alphabet, seen or not, so no text is ever unknown.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1 - n_tags,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(texts[: n_sampled([len(text) for text in texts])], trainer)
    # A row of the embedding that no text can reach would count as a parameter.
    return Tokenizer(model.get_vocab_size() + n_tags + 1, model.to_str())


def token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    """Return the smallest unsigned type that holds every token id."""
    return np.uint16 if vocab_size <= 2**16 else np.uint32


def n_sampled(sizes: Sequence[int] | np.ndarray) -> int:
    """Return how many texts of these sizes, from the first on, have TRAINING_BYTES characters together."""
    return int(np.searchsorted(np.cumsum(sizes), TRAINING_BYTES)) + 1


def _ranges(starts: np.ndarray, lengths: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the concatenated ranges starts[i] … starts[i] + lengths[i] − 1 for every i in `chosen`."""
    sizes = lengths[chosen]
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts[chosen] - ends + sizes, sizes)


def _byte_alphabet() -> dict[str, int]:
    """Return the byte behind each character of byte-level BPE (Radford et al. 2019, GPT-2)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [code for code in range(256) if code not in shown]
    characters = {chr(code): code for code in shown}
    return characters | {chr(256 + place): code for place, code in enumerate(hidden)}


BYTE_OF_CHARACTER = _byte_alphabet()
