"""Files of tokens in the layouts of the field, written as their tools write them."""

from __future__ import annotations

import struct
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VOCAB, SEPARATOR = 500, 499


def documents(seed: int, n: int, vocab: int = VOCAB) -> list[np.ndarray]:
    """Documents of 20 to 400 tokens that end with the last id; the lower an id, the more frequent."""
    rng = np.random.default_rng(seed)
    drawn = [(rng.zipf(1.3, rng.integers(20, 400)) % (vocab - 1)).astype(np.int64) for _ in range(n)]
    return [np.append(each, vocab - 1) for each in drawn]


def raw(path: Path, docs: list[np.ndarray], dtype: str = "<u2") -> None:
    """nanoGPT: tokens only."""
    np.concatenate(docs).astype(dtype).tofile(path)


def with_header(path: Path, docs: list[np.ndarray], version: int = 1, magic: int = 20240520) -> None:
    """llm.c: 256 words of 32 bits, then the tokens."""
    tokens = np.concatenate(docs)
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(tokens)
    path.write_bytes(header.tobytes() + tokens.astype("<u2" if magic == 20240520 else "<u4").tobytes())


def megatron(path: Path, docs: list[np.ndarray], parts: int = 1) -> None:
    """Megatron: each document in `parts` sequences; `path` names the .bin."""
    cut = [piece for doc in docs for piece in np.array_split(doc, parts)]
    sizes = np.array([len(piece) for piece in cut], "<i4")
    pointers = np.array([0, *accumulate(int(size) * 2 for size in sizes[:-1])], "<i8")
    first = np.arange(0, len(cut) + 1, parts, dtype="<i8")
    path.write_bytes(np.concatenate(docs).astype("<u2").tobytes())
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, len(sizes), len(first))
    path.with_suffix(".idx").write_bytes(head + sizes.tobytes() + pointers.tobytes() + first.tobytes())


def datatrove(path: Path, docs: list[np.ndarray], dtype: str = "<u2") -> None:
    """datatrove: tokens, ends of documents, and a text for people."""
    np.concatenate(docs).astype(dtype).tofile(path)
    np.cumsum([len(doc) for doc in docs]).astype("<u8").tofile(f"{path}.index")
    Path(f"{path}.metadata").write_text(f"gpt2|2\n{sum(map(len, docs))}\n1 T")


def numpy_file(path: Path, docs: list[np.ndarray], dtype: str = "<u2") -> None:
    """A NumPy array."""
    np.save(path, np.concatenate(docs).astype(dtype))


def parquet(path: Path, docs: list[np.ndarray], column: str = "input_ids") -> None:
    """A table with a column of lists and one of other things."""
    table = pa.table(
        {"text": ["x"] * len(docs), column: pa.array([d.tolist() for d in docs], pa.list_(pa.int32()))}
    )
    pq.write_table(table, path, row_group_size=64)


def arrow(path: Path, docs: list[np.ndarray], stream: bool = True) -> None:
    """Arrow, as a stream (`datasets`) or as a file."""
    table = pa.table({"tokens": pa.array([d.tolist() for d in docs], pa.large_list(pa.int64()))})
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema) as out:
        out.write_table(table, max_chunksize=100)
