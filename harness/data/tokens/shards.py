"""Files of tokens as they are in the field, described by what is needed to map them from disk.

nanoGPT writes bare tokens of 16 or 32 bits into `.bin`. llm.c and modded-nanogpt put 256 words of 32 bits
before them. NumPy writes one axis of integers into `.npy`. Megatron has the ends of documents in an `.idx`
beside its `.bin`. datatrove has them in a `.ds.index` beside its `.ds`.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from harness.data.text.corpora import SourceFile
from harness.records.errors import InputError

SUFFIXES = (".bin", ".npy", ".ds")
BESIDE = (".idx", ".index")  # files that a shard needs beside it
# First and second word of a header: layout, version, and type of the tokens behind it.
HEADERS = {20240520: (1, "<u2"), 20240801: (7, "<u4")}
HEADER_BYTES = 256 * 4
HALVES = 8192  # 16-bit words at the beginning of a bare file that tell 32-bit tokens by their zeros
MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
MEGATRON_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}


@dataclass(frozen=True)
class Mapped:
    """A file of tokens mapped from disk.

    Attributes:
        file: the mapped bytes.
        tokens: the tokens in them.
        offset: bytes before the first token.
    """

    file: mmap.mmap
    tokens: np.ndarray
    offset: int

    def prefetch(self, first: int, n: int) -> None:
        """Ask the system for the pages of `n` tokens from `first` on; do not wait for them.

        A page that is not in memory stops the process when it is touched, as long as the disk takes.
        Asked for before, many pages come at once and beside the computation.
        """
        if hasattr(mmap, "MADV_WILLNEED"):
            size = self.tokens.itemsize
            low = self.offset + first * size
            begin = low - low % mmap.PAGESIZE
            self.file.madvise(mmap.MADV_WILLNEED, begin, low + n * size - begin)


@dataclass(frozen=True)
class Shard:
    """One file of tokens.

    Attributes:
        name: path below the folder of the corpus.
        path: path on this machine.
        dtype: NumPy type of a token.
        offset: bytes before the first token.
        n_tokens: how many tokens.
        index: file with the ends of the documents; None if they are unknown.
    """

    name: str
    path: str
    dtype: str
    offset: int
    n_tokens: int
    index: str | None = None

    def map(self) -> np.ndarray:
        """Return the tokens, mapped from disk."""
        return self.open().tokens if self.n_tokens else np.zeros(0, self.dtype)

    def open(self) -> Mapped:
        """Map the file, which has tokens."""
        with open(self.path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Windows lie anywhere: reading ahead would fetch 128 KB for each of them.
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)
        return Mapped(mapped, np.frombuffer(mapped, self.dtype, self.n_tokens, self.offset), self.offset)

    def document_ends(self) -> Int64[np.ndarray, "documents"] | None:
        """Return the position after the last token of each document, rising; None if they are unknown.

        Raises:
            InputError: the index does not end where the tokens end.
        """
        if self.index is None:
            return None
        ends = _megatron(self.index)[1] if self.index.endswith(".idx") else _datatrove_ends(self.index)
        if len(ends) == 0 or ends[-1] != self.n_tokens or np.any(np.diff(ends, prepend=0) < 0):
            last = int(ends[-1]) if len(ends) else 0
            raise InputError(
                f"{self.index} ends at token {last:,} and {self.path} has {self.n_tokens:,}: they do not "
                "belong together, copy both again"
            )
        return ends


def open_shard(file: SourceFile, vocab_size: int) -> Shard:
    """Return the description of a file, from its first bytes and the files beside it.

    Args:
        file: the file.
        vocab_size: number of token ids; above 2^16 the tokens of a bare file have 32 bits.

    Raises:
        InputError: the file is cut, of another version, or no file of tokens.
    """
    suffix = Path(file.path).suffix.lower()
    try:
        if suffix == ".npy":
            return _npy(file)
        return _ds(file, vocab_size) if suffix == ".ds" else _bin(file, vocab_size)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{file.path} cannot be read as tokens ({error}); copy or write it again") from error


def _bin(file: SourceFile, vocab_size: int) -> Shard:
    index = Path(file.path).with_suffix(".idx")
    if index.exists():
        dtype, _ = _megatron(str(index))
        return _plain(file, dtype, str(index))
    with open(file.path, "rb") as opened:
        words = np.frombuffer(opened.read(HEADER_BYTES), np.uint8)
    if len(words) == HEADER_BYTES:
        header = words.view("<i4")
        if int(header[0]) in HEADERS:
            return _with_header(file, header)
    return _plain(file, _width(file, vocab_size))


def _width(file: SourceFile, vocab_size: int) -> str:
    """Return the type of bare tokens: 32 bits if the vocabulary needs them, or every second half is 0."""
    if vocab_size > 2**16:
        return "<u4"
    halves = np.fromfile(file.path, "<u2", HALVES)
    wide = file.size % 4 == 0 and halves.any() and not halves[1::2].any()
    return "<u4" if wide else "<u2"


def _with_header(file: SourceFile, header: np.ndarray) -> Shard:
    version, dtype = HEADERS[int(header[0])]
    if header[1] != version:
        raise InputError(
            f"{file.path} has a header of version {header[1]}, expected version {version}: write it again "
            "with the layout of that version"
        )
    stored, held = int(header[2]), (file.size - HEADER_BYTES) // np.dtype(dtype).itemsize
    if held != stored:
        raise InputError(
            f"{file.path} holds {held:,} tokens and its header says {stored:,}: it was cut, copy it again"
        )
    return Shard(file.name, file.path, dtype, HEADER_BYTES, stored)


def _npy(file: SourceFile) -> Shard:
    mapped = np.load(file.path, mmap_mode="r", allow_pickle=False)
    if mapped.ndim != 1 or not np.issubdtype(mapped.dtype, np.integer):
        raise InputError(
            f"{file.path} holds {mapped.dtype} of shape {mapped.shape}, expected one axis of integers: save "
            "the tokens as one stream"
        )
    offset = file.size - mapped.size * mapped.dtype.itemsize
    return Shard(file.name, file.path, mapped.dtype.str, offset, mapped.size)


def _ds(file: SourceFile, vocab_size: int) -> Shard:
    index = Path(f"{file.path}.index")
    if not index.exists():
        return _plain(file, _width(file, vocab_size))
    ends = _datatrove_ends(str(index))
    # The index counts tokens, so it also says how many bytes each has.
    wide = len(ends) > 0 and int(ends[-1]) * 4 == file.size
    return _plain(file, "<u4" if wide else "<u2", str(index))


def _plain(file: SourceFile, dtype: str, index: str | None = None) -> Shard:
    """Return a shard whose file holds tokens only."""
    n_tokens, rest = divmod(file.size, np.dtype(dtype).itemsize)
    if rest:
        raise InputError(
            f"{file.path} has {file.size:,} bytes, no multiple of the {np.dtype(dtype).itemsize} bytes of a "
            "token: it was cut, or data.vocab_size is not that of its tokenizer"
        )
    return Shard(file.name, file.path, dtype, 0, n_tokens, index)


def _megatron(path: str) -> tuple[str, Int64[np.ndarray, "documents"]]:
    """Return the type of the tokens and the ends of the documents of a Megatron index.

    Layout: magic, version (u8), type (u1), sequences (u8), documents + 1 (u8), lengths (i4), byte offsets
    (i8), first sequence of each document and the end (i8).
    """
    content = np.memmap(path, np.uint8, "r")
    head = len(MEGATRON_MAGIC)
    if content[:head].tobytes() != MEGATRON_MAGIC:
        raise InputError(f"{path} is no Megatron index: move it elsewhere, or write it again")
    version, code = int(content[head : head + 8].view("<u8")[0]), int(content[head + 8])
    if version != 1 or code not in MEGATRON_TYPES:
        raise InputError(
            f"{path} has version {version} and type {code} of tokens, expected version 1 and one of "
            f"{', '.join(map(str, MEGATRON_TYPES))}: write it again"
        )
    # Copied, because nine bytes of magic leave the rest of the file unaligned.
    n, n_documents = (int(v) for v in np.frombuffer(content[head + 9 : head + 25].tobytes(), "<u8"))
    first = head + 25
    expected = first + 12 * n + 8 * n_documents
    if len(content) < expected:
        raise InputError(
            f"{path} has {len(content):,} bytes, expected {expected:,}: it was cut, copy it again"
        )
    lengths = np.frombuffer(content[first : first + 4 * n].tobytes(), "<i4").astype(np.int64)
    last = np.frombuffer(content[expected - 8 * n_documents : expected].tobytes(), "<i8")
    # Writers without documents leave [0]: then each sequence is one.
    ends = np.cumsum(lengths)
    if n_documents > 1:
        if last[-1] != n or np.any(np.diff(last) < 0) or last[0] < 0:
            raise InputError(f"{path} names sequences that it does not have: it is damaged, copy it again")
        ends = np.append(0, ends)[last[1:]]
    return MEGATRON_TYPES[code], ends


def _datatrove_ends(path: str) -> Int64[np.ndarray, "documents"]:
    """Return the ends of the documents of a datatrove index."""
    return np.fromfile(path, "<u8").astype(np.int64)
