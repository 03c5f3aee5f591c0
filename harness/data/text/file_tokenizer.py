"""Tokenizers from a tokenizer.json of Hugging Face, with the bytes of text behind each of their tokens.

Two families say in their tokens which bytes they stand for. Byte-level tokenizers (GPT-2, Llama 3) write each
byte as a character. SentencePiece-like ones (Llama 2, T5) write a space as ▁, and a byte of a character that
they lack as <0x0A>.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tokenizers as hf
from jaxtyping import Int64, UInt

from harness.data.text.tokenizer import BYTE_OF_CHARACTER, Tokenizer, decoded, token_dtype
from harness.records.errors import InputError

# Names of the token behind a document, the most explicit first.
SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "<EOS>")
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SPACE = "▁"


@dataclass(frozen=True)
class FileTokenizer:
    """A tokenizer as it is in its file.

    Attributes:
        vocab_size: number of token ids: one more than the largest.
        definition: content of the file.
        separator: id of the document separator; None if no token is known as one.
    """

    vocab_size: int
    definition: str
    separator: int | None

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Type of the token files."""
        return token_dtype(self.vocab_size)

    @cached_property
    def tokenizer_id(self) -> str:
        """Hash of the whole tokenizer."""
        return hashlib.sha256(f"{self.vocab_size} {self.separator} {self.definition}".encode()).hexdigest()[
            :12
        ]

    @cached_property
    def _model(self) -> hf.Tokenizer:
        return hf.Tokenizer.from_str(self.definition)

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """Bytes of every token; empty for special tokens and for ids without a token."""
        content = json.loads(self.definition)
        added = {each["id"]: each for each in content.get("added_tokens", ())}
        byte_level = _mentions(content, "ByteLevel")
        pieces = [b""] * self.vocab_size
        for token, index in self._model.get_vocab(with_added_tokens=True).items():
            if index in added:
                pieces[index] = _added(added[index])
            elif byte_level:
                pieces[index] = bytes(BYTE_OF_CHARACTER[character] for character in token)
            else:
                pieces[index] = _spaced(token)
        return tuple(pieces)

    @cached_property
    def token_bytes(self) -> Int64[np.ndarray, "vocab"]:
        """Number of bytes that each token stands for.

        Some tokenizers begin each document with a space that the text lacks. Their separator counts −1, so
        that the sum over documents is that of their texts. A document that begins with a space may get none:
        there the sum is one too low.
        """
        found = np.array([len(piece) for piece in self.pieces], np.int64)
        prefix = int(found[self._model.encode("a", add_special_tokens=False).ids].sum()) - 1
        if self.separator is not None:
            found[self.separator] = -max(prefix, 0)
        return found

    def id_of(self, token: str) -> int | None:
        """Return the id of a token by its name; None if there is no such token."""
        found: int | None = self._model.token_to_id(token)
        return found

    def name_of(self, token: int) -> str | None:
        """Return the name of a token by its id; None if the id has none."""
        found: str | None = self._model.id_to_token(token)
        return found

    def encode(self, texts: list[str]) -> UInt[np.ndarray, "tokens"]:
        """Return the tokens of all texts in one array, each text followed by the separator."""
        assert self.separator is not None
        found = self._model.encode_batch_fast(texts, add_special_tokens=False)
        parts = [np.asarray([*each.ids, self.separator], self.dtype) for each in found]
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def decode(self, tokens: np.ndarray) -> str:
        """Return the text of `tokens`, separators shown by name; a character cut in two becomes U+FFFD."""
        return decoded(tokens, self.pieces, self.separator)


AnyTokenizer: TypeAlias = Tokenizer | FileTokenizer


def read_tokenizer(path: str, separator: int | None = None, key: str = "data.tokenizer") -> FileTokenizer:
    """Read a tokenizer.json.

    Args:
        path: the file.
        separator: id of the token behind a document; None looks for one of SEPARATORS.
        key: name of the setting that gave the path, for errors.

    Raises:
        InputError: there is no such file, it is no tokenizer, or its tokens do not say their bytes.
    """
    try:
        definition = Path(path).expanduser().read_text(encoding="utf-8")
        content = json.loads(definition)
        model = hf.Tokenizer.from_str(definition)
    except OSError as error:
        raise InputError(f"{key}={path} cannot be read ({error.strerror}); type its path") from error
    except Exception as error:  # The library raises bare Exceptions.
        raise InputError(
            f"{key}={path} is no tokenizer.json of Hugging Face ({error}); give that file"
            f"{', bpe or bytes' if key == 'data.tokenizer' else ''}"
        ) from error
    family = _mentions(content, "ByteLevel") or _mentions(content, "Metaspace") or _replaces_space(content)
    if not family or _mentions(content.get("model", {}), "WordPiece"):
        kind = content.get("model", {}).get("type", "unknown")
        raise InputError(
            f"{key}={path} ({kind}) does not keep every byte of a text; give a byte-level or "
            "SentencePiece-like tokenizer"
        )
    vocabulary = model.get_vocab(with_added_tokens=True)
    size = max(vocabulary.values(), default=0) + 1
    if separator is not None and not 0 <= separator < size:
        raise InputError(f"data.separator={separator} is no id of {path}, expected 0 to {size - 1}")
    if separator is None:
        separator = next((vocabulary[name] for name in SEPARATORS if name in vocabulary), None)
    return FileTokenizer(size, definition, separator)


def _added(token: dict[str, Any]) -> bytes:
    """Return the bytes of a token beside the model: none if it is special."""
    byte = BYTE_PIECE.fullmatch(token["content"])
    if byte:
        return bytes([int(byte[1], 16)])
    return b"" if token["special"] else str(token["content"]).encode()


def _spaced(token: str) -> bytes:
    """Return the bytes of a token of the SentencePiece family."""
    byte = BYTE_PIECE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()


def _mentions(content: Any, kind: str) -> bool:
    """Return whether a part of a definition, vocabulary aside, has this type."""
    if isinstance(content, list):
        return any(_mentions(each, kind) for each in content)
    if not isinstance(content, dict):
        return False
    return content.get("type") == kind or any(
        _mentions(each, kind)
        for key, each in content.items()
        if key not in ("vocab", "merges", "added_tokens")
    )


def _replaces_space(content: dict[str, Any]) -> bool:
    """Return whether spaces are written as ▁ by a normaliser."""
    return f'"content": "{SPACE}"' in json.dumps(content.get("normalizer"), ensure_ascii=False)
