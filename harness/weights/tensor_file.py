"""Named arrays and texts in one safetensors file, with a checksum; it appears whole or not at all.

The checksum is one more text. Files of other programs have none and are read without.

References:
    https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.numpy import save

from harness.records.errors import Damaged
from harness.records.files import write_parts

DTYPES = (np.dtype(np.float32), np.dtype(jnp.bfloat16))
CHECK = "crc32"
LENGTH_BYTES = 8  # of the length of the header; arrays begin at a multiple


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Write arrays and texts.

    Args:
        path: the file.
        arrays: fp32 or bf16 arrays by name.
        texts: texts by name.
    """
    rows = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    content = memoryview(save(rows, {**texts, CHECK: _check(rows, texts)}))
    first = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    # Sorted: the library writes the texts in another order each time, and equal models get equal bytes.
    header = json.dumps(json.loads(bytes(content[LENGTH_BYTES:first])), sort_keys=True).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)
    # Not forced to the disk, which takes longer than all the rest: the checksum tells if a write was lost.
    length = len(header).to_bytes(LENGTH_BYTES, "little")
    write_parts(path, [length, header, content[first:]], synced=False)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and texts of a file, by name.

    Raises:
        Damaged: there is no such file, it is none of this format, or it has other content than was written.
    """
    with _opened(path) as file:
        texts = dict(file.metadata() or {})
        arrays = {name: file.get_tensor(name) for name in file.offset_keys()}
    other = next((name for name, array in arrays.items() if array.dtype not in DTYPES), None)
    if other is not None:
        kinds = ", ".join(map(str, DTYPES))
        raise Damaged(path, f"{other} is of type {arrays[other].dtype}, expected one of {kinds}")
    check = texts.pop(CHECK, None)
    if check is not None and check != _check(arrays, texts):
        raise Damaged(path, "its checksum differs")
    return arrays, texts


def read_texts(path: Path) -> dict[str, str]:
    """Return the texts of a file without reading its arrays; only `read_tensors` verifies the checksum.

    Raises:
        Damaged: there is no such file, or it is none of this format.
    """
    with _opened(path) as file:
        texts = dict(file.metadata() or {})
    texts.pop(CHECK, None)
    return texts


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; raise Damaged if it cannot be read as what it should be."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            yield file
    except OSError as error:
        raise Damaged(path, (error.strerror or "there is no such file").lower()) from error
    except safetensors.SafetensorError as error:
        raise Damaged(path, f"it is no whole safetensors file: {error}") from error


def _check(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
    """Return the CRC-32 of all names, types, shapes, numbers and texts, as hexadecimal digits."""
    total = zlib.crc32(repr(sorted(texts.items())).encode())
    for name, array in sorted(arrays.items()):
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        # As uint8, because Python's buffers know no bf16.
        total = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, total)
    return f"{total:08x}"
