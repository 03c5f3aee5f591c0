"""Near duplicates by signatures."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from harness.data.streaming import minhash
from harness.data.streaming.minhash import near_duplicates, resemblance
from harness.data.streaming.signature import N_VALUES, signatures
from harness.data.text.hashes import shingle_hashes


def shingles(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 2**64, n, dtype=np.uint64)


def pairs(rng: np.random.Generator, n: int, common: int, count: int) -> list[np.ndarray]:
    """Documents of n shingles, two and two with some in common."""
    found = []
    for _ in range(count):
        both = shingles(rng, common)
        found += [np.append(both, shingles(rng, n - common)) for _ in range(2)]
    return found


def stored(folder: Path, documents: list[np.ndarray]) -> Path:
    path = folder / "signatures.bin"
    signatures(documents).tofile(path)
    return path


@pytest.mark.parametrize(("n", "common"), [(15, 5), (15, 10), (120, 60), (900, 720)])
def test_equal_minima_estimate_the_resemblance(tmp_path: Path, n: int, common: int) -> None:
    """Short documents too: the mean over 100 pairs is right within four standard errors."""
    path = stored(tmp_path, pairs(np.random.default_rng(n), n, common, 100))
    first = np.arange(0, 200, 2)
    found = resemblance(path, first, first + 1)
    truth = common / (2 * n - common)
    error = np.sqrt(truth * (1 - truth) / N_VALUES / 100)
    assert abs(found.mean() - truth) < 4 * error
    # The spread is that of independent minima, or less where shingles are fewer than minima.
    assert found.std() < 1.3 * np.sqrt(truth * (1 - truth) / N_VALUES)


def test_a_document_of_one_shingle_has_a_whole_signature() -> None:
    rng = np.random.default_rng(0)
    one, other = shingles(rng, 1), shingles(rng, 1)
    found = signatures([one, other, one])
    assert (found[0] == found[2]).all()
    assert (found[0] == found[1]).sum() <= 1
    assert len(np.unique(found[0])) > N_VALUES - 4


def test_signatures_do_not_depend_on_the_documents_beside_them() -> None:
    rng = np.random.default_rng(1)
    documents = [shingles(rng, n) for n in (3, 700, 40)]
    together = signatures(documents)
    assert (together == np.concatenate([signatures([each]) for each in documents])).all()


def test_planted_near_duplicates_go_and_the_longest_stays(tmp_path: Path) -> None:
    """A text, the same with every 40th word changed, and with half of it cut off and other text behind."""
    rng = np.random.default_rng(2)
    words = [f"w{n}" for n in rng.integers(0, 50_000, 600)]
    edited = [word if place % 40 else "edited" for place, word in enumerate(words)]
    mixed = words[:250] + [f"x{n}" for n in rng.integers(0, 50_000, 350)]
    texts = [" ".join(each) for each in (edited, words, mixed, *([f"y{n}"] * 30 for n in range(50)))]
    path = stored(tmp_path, [shingle_hashes(text) for text in texts])
    order = np.arange(len(texts), dtype=np.int32)
    order[[0, 1]] = [1, 0]
    assert near_duplicates(path, len(texts), order).tolist() == [0]


def test_links_are_passed_on_and_one_of_a_group_stays(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    steps = shingles(rng, 1600)
    chain = [steps[start : start + 1000] for start in (0, 200, 400, 600)]
    path = stored(tmp_path, [shingles(rng, 300), *chain])
    dropped = near_duplicates(path, 5, np.array([0, 3, 4, 2, 1], np.int32))
    assert sorted(dropped.tolist()) == [1, 2, 4]


def test_documents_that_are_not_chosen_are_left_alone(tmp_path: Path) -> None:
    both = shingles(np.random.default_rng(4), 100)
    path = stored(tmp_path, [both, both, both])
    assert near_duplicates(path, 3, np.array([1, 2], np.int32)).tolist() == [2]


def test_a_document_takes_a_few_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Corpora have millions of documents, and all of them are compared."""
    monkeypatch.setattr(minhash, "DOCUMENTS_AT_ONCE", 2**10)
    monkeypatch.setattr(minhash, "PAIRS_AT_ONCE", 2**6)
    n = 30_000
    values = np.random.default_rng(5).integers(0, 2**16, (n, N_VALUES), dtype=np.uint16)
    values[1::4] = values[::4]
    values.tofile(tmp_path / "signatures.bin")
    order = np.arange(n, dtype=np.int32)
    tracemalloc.start()
    try:
        dropped = near_duplicates(tmp_path / "signatures.bin", n, order)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorted(dropped.tolist()) == list(range(1, n, 4))
    assert most < 90 * n, "12 bytes for places and groups, 32 for keys, 8 for each array of a sort"
