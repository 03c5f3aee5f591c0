"""Named arrays and texts in one safetensors file, with a checksum; it appears whole or not at all.

A file is eight bytes with the length of the header, the header, and the arrays one after the other. The
header is JSON: dtype, shape and place of each array, and the texts under `__metadata__`. All of it is
little-endian. Files of other programs have no checksum and are read without.

References:
    https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from harness.records.errors import Damaged
from harness.records.files import read_bytes, write_parts

DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(jnp.bfloat16)}
TEXTS, CHECK = "__metadata__", "crc32"
# Bytes of the header's length; the header is filled up to a multiple, so that arrays are aligned.
LENGTH_BYTES = 8
# The format's own limit: a length beyond it is that of another kind of file.
LONGEST_HEADER = 100_000_000


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Write arrays and texts.

    Args:
        path: the file.
        arrays: fp32 or bf16 arrays by name.
        texts: texts by name.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {TEXTS: dict(texts)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        entry = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        header[name] = entry
    data = [_bytes_of(array) for array in arrays.values()]
    header[TEXTS][CHECK] = _check(header, iter(data))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    # Not forced to the disk, which takes longer than all the rest: the checksum tells if a write was lost.
    write_parts(path, [len(text).to_bytes(LENGTH_BYTES, "little"), text, *data], synced=False)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and texts of a file, by name.

    Raises:
        Damaged: there is no such file, it is none of this format, or it has other content than was written.
    """
    data = read_bytes(path)
    header, first = _header(path, data)
    texts = _texts(path, header)
    body = memoryview(data)[first:]
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _place(path, item)):
        if name == TEXTS:
            continue
        begin, stop = entry["data_offsets"]
        dtype, shape = DTYPES.get(entry["dtype"]), entry["shape"]
        if dtype is None:
            raise Damaged(path, f"{name} is of type {entry['dtype']}, expected one of {', '.join(DTYPES)}")
        if begin != end or stop > len(body) or stop - begin != math.prod(shape) * dtype.itemsize:
            raise Damaged(path, f"{name} does not lie where its header says")
        arrays[name] = np.frombuffer(body[begin:stop], dtype).reshape(shape)
        end = stop
    if end != len(body):
        raise Damaged(path, "it is longer than its header says")
    check = texts.pop(CHECK, None)
    if check is not None and check != _check(header | {TEXTS: texts}, iter([body])):
        raise Damaged(path, "its checksum differs")
    return arrays, texts


def read_texts(path: Path) -> dict[str, str]:
    """Return the texts of a file without reading its arrays; only `read_tensors` verifies the checksum.

    Raises:
        Damaged: there is no such file, or it is none of this format.
    """
    try:
        with open(path, "rb") as file:
            length = file.read(LENGTH_BYTES)
            data = length + file.read(min(int.from_bytes(length, "little"), LONGEST_HEADER))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Damaged(path, (error.strerror or "it cannot be read").lower()) from error
    texts = _texts(path, _header(path, data)[0])
    texts.pop(CHECK, None)
    return texts


def _header(path: Path, data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header at the beginning of a file, and the place of the first array."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    first = LENGTH_BYTES + length
    if len(data) < LENGTH_BYTES or length > LONGEST_HEADER or first > len(data):
        raise Damaged(path, "it is cut off or no safetensors file")
    try:
        header = json.loads(data[LENGTH_BYTES:first])
    except (ValueError, RecursionError) as error:
        raise Damaged(path, f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise Damaged(path, "its header is no JSON object")
    return header, first


def _texts(path: Path, header: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a header."""
    texts = header.get(TEXTS, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise Damaged(path, "its header holds something other than texts")
    return dict(texts)


def _place(path: Path, item: tuple[str, Any]) -> int:
    """Return where an array of a header begins; raise Damaged unless its entry has the form of one."""
    name, entry = item
    if name == TEXTS:
        return -1
    try:
        begin, end = entry["data_offsets"]
        whole = [begin, end, *entry["shape"]]
        sound = isinstance(entry["dtype"], str) and all(type(n) is int and n >= 0 for n in whole)
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise Damaged(path, f"its header does not describe {name}")
    return int(begin)


def _bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of an array, row-major."""
    # As uint8, because Python's buffers know no bf16.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _check(header: Mapping[str, Any], data: Iterator[memoryview]) -> str:
    """Return the CRC-32 of a header without its own check, and of all arrays, as hexadecimal digits."""
    total = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for part in data:
        total = zlib.crc32(part, total)
    return f"{total:08x}"
