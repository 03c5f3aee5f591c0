"""Files of arrays: read as they were written or not at all, here and by other programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.records import files
from harness.records.errors import Damaged
from harness.weights.tensor_file import read_tensors, read_texts, write_tensors
from tests.damages import DAMAGES

ARRAYS = {
    "blocks.0.kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "half": np.array([1.5, -0.0078125, 3e38], jnp.bfloat16),
    "one": np.float32(7).reshape(()),
    "none": np.zeros((0, 4), np.float32),
}
TEXTS = {"card": '{"name": "µ"}', "other": ""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "folder" / "model.safetensors"
    write_tensors(found, ARRAYS, TEXTS)
    return found


def assert_as_written(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> None:
    # A bit of the checksum's own name makes it one more text.
    assert texts.items() >= TEXTS.items()
    assert sorted(arrays) == sorted(ARRAYS)
    for name, array in arrays.items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_arrays_and_texts_come_back(path: Path) -> None:
    assert_as_written(*read_tensors(path))
    assert read_texts(path) == TEXTS


def test_equal_content_has_equal_bytes(tmp_path: Path) -> None:
    texts = {str(key): "x" for key in range(20)}
    for i in range(3):
        write_tensors(tmp_path / str(i), ARRAYS, texts)
    assert len({(tmp_path / str(i)).read_bytes() for i in range(3)}) == 1


@pytest.mark.parametrize("first", range(5))
def test_no_flipped_bit_changes_what_is_read(path: Path, first: int) -> None:
    written = path.read_bytes()
    n_damaged = 0
    bits = range(first, 8 * len(written), 41)
    for bit in bits:
        data = bytearray(written)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            assert_as_written(*read_tensors(path))
        except Damaged:
            n_damaged += 1
    assert n_damaged > len(bits) * 0.95


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_one_sentence(path: Path, kind: str) -> None:
    DAMAGES[kind](path)
    with pytest.raises(Damaged, match="cannot be read"):
        read_tensors(path)
    if kind != "flipped":
        with pytest.raises(Damaged, match="cannot be read"):
            read_texts(path)


def with_header(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        header = change(header) or header
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h["half"].update(dtype="I16"), "half is of type int16, expected one of float32, bfloat16"),
        (lambda h: h["half"].update(shape=[4]), "no whole safetensors file"),
        (lambda h: h["half"].update(data_offsets=[0, 6]), "no whole safetensors file"),
        (lambda h: h["half"].update(data_offsets=[24, 1000]), "no whole safetensors file"),
        (lambda h: h["half"].update(shape=[-3]), "no whole safetensors file"),
        (lambda h: h.update(half=3), "no whole safetensors file"),
        (lambda h: h.update(__metadata__=[1]), "no whole safetensors file"),
        (lambda h: [h], "no whole safetensors file"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    path: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    with_header(change)(path)
    with pytest.raises(Damaged, match=words):
        read_tensors(path)


def test_bytes_beyond_the_last_array_are_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Damaged, match="no whole safetensors file"):
        read_tensors(path)


def test_a_file_of_another_program_has_no_checksum(path: Path) -> None:
    with_header(lambda h: h["__metadata__"].pop("crc32") and None)(path)
    assert_as_written(*read_tensors(path))


def test_a_writer_that_fails_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_tensors(path, {"x": np.zeros(3, np.float32)}, {})
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == before


def test_files_of_the_library_are_read(path: Path) -> None:
    kernel = np.ascontiguousarray(ARRAYS["blocks.0.kernel"])
    save_file({"kernel": kernel}, path, {"card": "x"})
    arrays, texts = read_tensors(path)
    np.testing.assert_array_equal(arrays["kernel"], kernel)
    assert texts == {"card": "x"}
