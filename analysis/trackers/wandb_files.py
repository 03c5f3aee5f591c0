"""Files that W&B keeps of a run on its machine (run-ID.wandb), read without W&B.

A file is a log of records in blocks, after LevelDB. A record has a checksum, a length and a kind; one that
does not fit into a block goes on in the next. Each holds a message of protocol buffers.

References:
    wandb/proto/wandb_internal.proto; LevelDB's log format.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from analysis.trackers.exports import STEPS
from analysis.trackers.messages import DOUBLE, INT32, INT64, PART, SINT64, TEXT, Declared, declare
from analysis.trackers.tracked import RunBuilder, TrackedRun, as_logged, flattened, told_apart
from harness.records.errors import Damaged

SUFFIX = ".wandb"
MAGIC, BLOCK = b":W&B", 2**15
HEADER, RECORD = 7, struct.Struct("<IHB")  # bytes before the first record; checksum, length and kind
FULL, FIRST, LAST = 1, 2, 4  # kinds; 3 stands between first and last
VALUE: list[Declared] = [
    (1, "key", TEXT, ""), (2, "nested_key*", TEXT, ""), (5, "integer", SINT64, ""), (6, "number", DOUBLE, ""),
    (16, "value_json", TEXT, ""),
]  # fmt: skip
FIELDS: dict[str, list[Declared]] = {
    "Record": [
        (2, "history", PART, "History"), (5, "config", PART, "Settings"), (17, "run", PART, "Run"),
        (3, "summary", PART, "Settings"), (18, "exit", PART, "Exit"),
    ],
    "History": [(1, "item*", PART, "Item"), (2, "step", PART, "Step")],
    "Step": [(1, "num", INT64, "")],
    "Settings": [(1, "update*", PART, "Item")],
    "Run": [(1, "run_id", TEXT, ""), (4, "config", PART, "Settings"), (8, "display_name", TEXT, "")],
    "Exit": [(1, "exit_code", INT32, "")],
    "Item": VALUE,
}  # fmt: skip


def wandb_files(folder: Path) -> list[Path]:
    """Return the files of runs below a folder; links to them, such as latest-run, are left out."""
    found = sorted(path for path in folder.rglob(f"*{SUFFIX}") if path.is_file())
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def read_wandb(paths: Sequence[Path]) -> list[TrackedRun]:
    """Return the runs of files; a run that was resumed has several.

    Raises:
        Damaged: one is no such file, or has other bytes than were written.
    """
    builders: dict[str, RunBuilder] = {}
    states: dict[str, str] = {}
    for path in paths:
        run_id = path.stem.removeprefix("run-")
        builder = builders.setdefault(run_id, RunBuilder(run_id))
        states[run_id] = _take(builder, path)
    found = [
        (run_id, builder.build("W&B file", state=states[run_id])) for run_id, builder in builders.items()
    ]
    return told_apart(found)


def _take(builder: RunBuilder, path: Path) -> str:
    """Take all that a file says of a run, and return how the run ended."""
    state = "crashed"  # as W&B calls a run that never said how it ended
    kind = _record()
    for data in _records(path):
        try:
            record = kind.FromString(data)
            for part in (record.run.config, record.config, record.summary):
                builder.settings |= flattened(_values(part.update))
            if record.HasField("history"):
                _log(builder, record.history)
        except (DecodeError, ValueError, RecursionError) as error:  # The latter two from JSON inside.
            raise Damaged(path, "a record is none of W&B") from error
        builder.name = record.run.display_name or builder.name
        if record.HasField("exit"):
            state = "failed" if record.exit.exit_code else "finished"
    return state


def _log(builder: RunBuilder, history: Any) -> None:
    values = {name.replace(".", "/"): value for name, value in flattened(_values(history.item)).items()}
    logged = {name: number for name, value in values.items() if (number := as_logged(value)) is not None}
    step = next((logged[name] for name in STEPS if name in logged), float(history.step.num))
    for name, number in logged.items():
        if not name.startswith("_"):
            builder.log(name, step, number)


def _values(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        key = ".".join(item.nested_key) or item.key
        if item.HasField("number"):
            found[key] = item.number
        elif item.HasField("integer"):
            found[key] = item.integer
        elif item.value_json:
            found[key] = json.loads(item.value_json)
    return found


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file; the last one may be cut off, as a killed process leaves it."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise Damaged(path, "it does not begin as a file of W&B")
    at, begun = HEADER, b""
    while at + RECORD.size <= len(data):
        if BLOCK - at % BLOCK < RECORD.size:  # The rest of a block is too short for a record.
            at += BLOCK - at % BLOCK
            continue
        check, length, kind = RECORD.unpack_from(data, at)
        start, at = at + RECORD.size, at + RECORD.size + length
        if at > len(data):
            return
        part = data[start:at]
        if zlib.crc32(part, zlib.crc32(bytes([kind]))) != check:
            raise Damaged(path, f"the record at byte {start} has another checksum")
        begun = part if kind in (FULL, FIRST) else begun + part
        if kind in (FULL, LAST):
            yield begun


@cache
def _record() -> Any:
    """Return the class of a record."""
    return declare(FIELDS, "Record")
