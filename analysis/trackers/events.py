"""Event files of TensorBoard: scalars of every run below a folder, read without TensorFlow.

A file is a sequence of records: length, its checksum, a message of protocol buffers, its checksum. Of the
messages only the fields of scalars are declared here; the others are skipped.

References:
    tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto and tensor.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from analysis.trackers.messages import BYTES, DOUBLE, FLOAT, INT32, INT64, PART, TEXT, Declared, declare
from analysis.trackers.tracked import RunBuilder, TrackedRun
from harness.records.errors import Damaged

MARK = "tfevents"
HEAD, FOOT = struct.Struct("<QI"), struct.Struct("<I")
POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
MASK = 0xA282EAD8
# Numbers of types in tensors, as NumPy names them.
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
FIELDS: dict[str, list[Declared]] = {
    "Event": [(1, "wall_time", DOUBLE, ""), (2, "step", INT64, ""), (5, "summary", PART, "Summary")],
    "Summary": [(1, "value*", PART, "Value")],
    "Value": [(1, "tag", TEXT, ""), (2, "simple_value", FLOAT, ""), (8, "tensor", PART, "Tensor")],
    "Tensor": [
        (1, "dtype", INT32, ""), (4, "content", BYTES, ""), (5, "floats*", FLOAT, ""),
        (6, "doubles*", DOUBLE, ""), (7, "ints*", INT32, ""), (10, "longs*", INT64, ""),
    ],
}  # fmt: skip


def has_events(folder: Path) -> bool:
    """Return whether an event file lies below a folder."""
    return any(folder.rglob(f"*{MARK}*"))


def read_events(path: Path) -> list[TrackedRun]:
    """Return a run for each folder with event files below `path`, or the run of one file.

    Files of one folder are those of one run that was started again.

    Raises:
        Damaged: a file is not a sequence of records, or has other bytes than were written.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob(f"*{MARK}*") if file.is_file())
    root = path.parent if path.is_file() else path
    builders: dict[Path, RunBuilder] = {}
    for file in files:
        inside = file.parent.relative_to(root).as_posix()
        name = root.resolve().name if inside == "." else inside
        builder = builders.setdefault(file.parent, RunBuilder(name))
        for tag, step, value in _scalars(file):
            builder.log(tag, step, value)
    return [builder.build("TensorBoard events") for builder in builders.values()]


def _scalars(path: Path) -> Iterator[tuple[str, int, float]]:
    kind = _event()
    for data in _records(path):
        try:
            event = kind.FromString(data)
        except DecodeError as error:
            raise Damaged(path, "a record is no event of TensorBoard") from error
        for value in event.summary.value:
            found = _scalar(value)
            if found is not None:
                yield value.tag, event.step, found


def _scalar(value: Any) -> float | None:
    """Return the number of a summary; None if it holds an image, a text or a histogram."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    tensor = value.tensor
    if tensor.dtype not in TYPES:
        return None
    if tensor.content:
        kind = np.dtype(TYPES[tensor.dtype])
        return float(np.frombuffer(tensor.content, kind)[0]) if len(tensor.content) == kind.itemsize else None
    found = [*tensor.floats, *tensor.doubles, *tensor.ints, *tensor.longs]
    return float(found[0]) if len(found) == 1 else None


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file; the last one may be cut off, as a killed process leaves it."""
    data = path.read_bytes()
    at = 0
    while at + HEAD.size <= len(data):
        length, check = HEAD.unpack_from(data, at)
        if _masked(data[at : at + 8]) != check:
            raise Damaged(path, f"byte {at} begins no record of TensorBoard")
        start, end = at + HEAD.size, at + HEAD.size + length
        at = end + FOOT.size
        if at > len(data):
            return
        record = data[start:end]
        if _masked(record) != FOOT.unpack_from(data, end)[0]:
            raise Damaged(path, f"the record at byte {start} has another checksum")
        yield record


@cache
def _steps_of_crc() -> list[int]:
    """Return what each byte adds to a checksum."""
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        found.append(byte)
    return found


def _masked(data: bytes) -> int:
    """Return the masked CRC-32C of bytes, as records carry it."""
    steps, crc = _steps_of_crc(), 0xFFFFFFFF
    for byte in data:
        crc = steps[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


@cache
def _event() -> Any:
    """Return the class of an event."""
    return declare(FIELDS, "Event")
