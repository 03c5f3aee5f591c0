"""The cache of compiled programs: what is not as it was written is compiled again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jax._src import compilation_cache

from harness.engine.compiled import CheckedCache, use_cache
from tests.damages import DAMAGES, flip

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_program_is_dropped_and_can_be_put_again(tmp_path: Path, damage: str) -> None:
    cache = CheckedCache(tmp_path)
    cache.put("step", b"program" * 50)
    assert cache.get("step") == b"program" * 50
    (path,) = tmp_path.iterdir()
    DAMAGES[damage](path)
    assert cache.get("step") is None
    assert not path.exists()
    cache.put("step", b"program" * 50)
    assert cache.get("step") == b"program" * 50


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test alone; the session's comes back."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    monkeypatch.setattr(compilation_cache, "get_file_cache", compilation_cache.get_file_cache)
    use_cache(tmp_path)
    yield tmp_path
    monkeypatch.undo()
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_jax_compiles_a_damaged_program_again(cache: Path) -> None:
    def answer() -> np.ndarray:
        return np.asarray(jax.jit(lambda x: x * 3.0 + 1.0)(np.arange(4.0, dtype=np.float32)))

    first = answer()
    written = {path: path.read_bytes() for path in cache.iterdir()}
    assert written
    jax.clear_caches()
    np.testing.assert_array_equal(answer(), first)
    assert {path: path.read_bytes() for path in cache.iterdir()} == written, "taken as it is"
    for path in written:
        flip(path)
    jax.clear_caches()
    np.testing.assert_array_equal(answer(), first)
    assert all(CheckedCache(cache).get(path.name.removesuffix("-checked")) for path in written)
