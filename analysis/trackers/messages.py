"""Messages of protocol buffers that files of trackers hold, declared as far as they are read.

Fields that are not declared are skipped, as the format provides for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Types of fields, by the numbers that descriptors have for them.
DOUBLE, FLOAT, INT64, INT32, BOOL, TEXT, PART, BYTES, SINT64 = 1, 2, 3, 5, 8, 9, 11, 12, 18
REPEATED = "*"  # at the end of the name of a repeated field
# Number, name, type, and of a part the name of its message.
Declared = tuple[int, str, int, str]


def declare(messages: Mapping[str, Sequence[Declared]], root: str) -> Any:
    """Return the class of a message.

    Args:
        messages: fields of each message.
        root: message to return; the others are parts of it.
    """
    package = root.lower()
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for name, fields in messages.items():
        declared = file.message_type.add(name=name)
        for number, field, kind, part in fields:
            declared.field.add(
                name=field.rstrip(REPEATED),
                number=number,
                type=kind,
                label=3 if field.endswith(REPEATED) else 1,
                type_name=f".{package}.{part}" if part else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{root}"))
