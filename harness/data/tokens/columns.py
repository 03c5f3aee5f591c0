"""Token lists in columns of parquet and arrow files, rewritten once as files that can be mapped from disk.

The files written have the layout of datatrove: tokens in `.ds`, ends of documents in `.ds.index`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.ipc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from harness.data.text.corpora import SourceFile
from harness.data.text.tokenizer import token_dtype
from harness.data.tokens.shards import Shard
from harness.records.errors import InputError

SUFFIXES = (".parquet", ".arrow")
USUAL = ("input_ids", "tokens", "token_ids", "ids")  # names of such a column
ROWS_AT_ONCE = 4096


def rewrite(
    file: SourceFile, field: str | None, vocab_size: int, separator: int | None, target: Path
) -> Shard:
    """Write the token lists of a file, one row a document, and return the shard.

    Args:
        file: parquet or arrow file.
        field: column of the lists; None takes the only one, or one of USUAL.
        vocab_size: number of token ids.
        separator: id that each document gets at its end unless it is there; None adds none.
        target: file to write, whose name ends with .ds.

    Raises:
        InputError: the file cannot be read, has no such column, or an id is no id of the vocabulary.
    """
    dtype = token_dtype(vocab_size)
    ends: list[np.ndarray] = []
    total = 0
    try:
        with target.open("wb") as out:
            for column in _columns(file.path, field):
                tokens, lengths = _documents(column, separator)
                wrong = (tokens < 0) | (tokens >= vocab_size)
                if wrong.any():
                    before = int(np.searchsorted(np.cumsum(lengths), np.argmax(wrong), "right"))
                    raise InputError(
                        f"{file.path} has the id {tokens[wrong][0]} in row {sum(map(len, ends)) + before:,}, "
                        f"expected ids below data.vocab_size={vocab_size}; type that of its tokenizer"
                    )
                out.write(tokens.astype(dtype).data)
                ends.append(total + np.cumsum(lengths))
                total += len(tokens)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file.path} cannot be read ({error}); write it again") from error
    index = target.with_name(f"{target.name}.index")
    np.concatenate([*ends, np.zeros(0, np.int64)]).astype("<u8").tofile(index)
    return Shard(file.name, str(target), np.dtype(dtype).newbyteorder("<").str, 0, total, str(index))


def largest(file: SourceFile, field: str | None) -> int:
    """Return the largest id in the first rows of a file."""
    try:
        tokens, _ = _documents(next(_columns(file.path, field)), None)
        return int(tokens.max(initial=0))
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise InputError(f"{file.path} cannot be read ({error}); write it again") from error


def _columns(path: str, field: str | None) -> Iterator[pa.Array]:
    """Yield the column of token lists, a batch of rows at a time."""
    if path.lower().endswith(".parquet"):
        with pq.ParquetFile(path) as table:
            name = _chosen(table.schema_arrow, field, path)
            for batch in table.iter_batches(ROWS_AT_ONCE, columns=[name]):
                yield batch.column(0)
        return
    with pa.memory_map(path) as source:
        try:
            table = pa.ipc.open_file(source)
            batches = (table.get_batch(i) for i in range(table.num_record_batches))
        except pa.ArrowInvalid:  # The other layout of the same suffix: what `datasets` writes.
            source.seek(0)
            table = pa.ipc.open_stream(source)
            batches = iter(table)
        name = _chosen(table.schema, field, path)
        for batch in batches:
            yield batch.column(name)


def _chosen(schema: pa.Schema, field: str | None, path: str) -> str:
    """Return the name of the column of token lists."""
    found = [each.name for each in schema if _is_token_list(each.type)]
    if field is None:
        usual = [name for name in USUAL if name in found]
        if len(found) == 1 or usual:
            return (usual or found)[0]
    elif field in found:
        return field
    names = ", ".join(found) or "none"
    raise InputError(
        f"{path} was expected to have a column of lists of whole numbers"
        f"{f' named {field}' if field else ''}, and these are such: {names}; "
        f"type data.token_field={found[0] if found else 'COLUMN'}"
    )


def _is_token_list(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and pa.types.is_integer(kind.value_type)


def _documents(column: pa.Array, separator: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and lengths of the rows, each with the separator at its end if there is one."""
    tokens = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if separator is None:
        return tokens, lengths
    ends = np.cumsum(lengths)
    bare = (lengths > 0) & (tokens[np.maximum(ends - 1, 0)] != separator if len(tokens) else lengths < 0)
    return np.insert(tokens, ends[bare], separator), lengths + bare
