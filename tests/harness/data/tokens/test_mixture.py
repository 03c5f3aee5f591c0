"""Windows of a mixture: the same for every batch size, from every step, each source in its own order."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from harness.data.tokens.mixture import Mixture, MixtureOrder
from harness.data.tokens.reader import Reader, order_of
from harness.data.tokens.shards import Mapped, Shard
from harness.data.tokens.stream import TokenStream, whole
from harness.data.tokens.windows import MAX_UNBLOCKED_SOURCE, Order, windows_of
from harness.records.errors import InputError

SEQ_LEN = 8
SIZES = (1_000, 3_001, 400)


def streams() -> tuple[np.ndarray, ...]:
    """Tokens that say which source they are of, and where in it."""
    return tuple(np.arange(size, dtype=np.uint32) + 10_000 * index for index, size in enumerate(SIZES))


def mixture(counts: tuple[int, ...] = (2, 3, 0)) -> Mixture:
    return Mixture(("web", "code", "held"), counts, streams())


def windows(order: MixtureOrder, n: int) -> np.ndarray:
    """The first n windows, whatever the batch size."""
    return order.batches(order.mixture, 0, -(-n // order.batch_size)).reshape(-1, SEQ_LEN + 1)[:n]


def test_what_is_read_depends_on_no_batch_size() -> None:
    found = [windows(MixtureOrder(mixture(), SEQ_LEN, size, 3), 480) for size in (1, 4, 16, 96)]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    # Neighbouring tokens of one source: no window holds text of two.
    np.testing.assert_array_equal(found[0], found[0][:, :1] + np.arange(SEQ_LEN + 1))


def test_shares_hold_and_a_source_of_weight_0_is_never_read() -> None:
    sources = windows(MixtureOrder(mixture(), SEQ_LEN, 4, 3), 480)[:, 0] // 10_000
    assert np.bincount(sources, minlength=3).tolist() == [192, 288, 0]


def test_any_step_is_reached_at_once() -> None:
    order = MixtureOrder(mixture(), SEQ_LEN, 16, 3)
    whole = order.batches(order.mixture, 0, 60)
    np.testing.assert_array_equal(order.batch(order.mixture, 41), whole[41])
    np.testing.assert_array_equal(order.batches(order.mixture, 20, 7), whole[20:27])
    # Far on, where many epochs lie before.
    far = 10**9
    np.testing.assert_array_equal(
        order.batch(order.mixture, far + 1), order.batches(order.mixture, far, 2)[1]
    )


def test_each_epoch_of_a_source_reads_each_of_its_windows_once() -> None:
    order = MixtureOrder(mixture((1, 1, 0)), SEQ_LEN, 1, 3)
    found = windows(order, 2 * 124)
    web = found[found[:, 0] < 10_000][:, 0]
    assert len(web) == 124 == (SIZES[0] - 1) // SEQ_LEN
    assert sorted(web.tolist()) == list(range(0, 124 * SEQ_LEN, SEQ_LEN))


def test_a_source_keeps_its_order_beside_others() -> None:
    """Another source changes when a window comes, not which one."""
    both = windows(MixtureOrder(mixture((1, 3, 0)), SEQ_LEN, 4, 3), 160)
    more = windows(MixtureOrder(mixture((1, 1, 2)), SEQ_LEN, 4, 3), 160)
    web = [found[found[:, 0] < 10_000][:40, 0] for found in (both, more)]
    np.testing.assert_array_equal(web[0][:30], web[1][:30])
    other = windows(MixtureOrder(mixture((1, 3, 0)), SEQ_LEN, 4, 4), 160)
    assert not np.array_equal(both, other)


def test_what_stored_runs_have_read_stays() -> None:
    """Eight sources, short and long, all of them in epochs of their own."""
    most = MAX_UNBLOCKED_SOURCE
    sizes = (997, 40_009, 100_003, 262_145, 300_007, most, 4 * most, 9 * most + 4_321)
    held = tuple(np.broadcast_to(np.uint16(0), 4 * size + 1) for size in sizes)
    order = MixtureOrder(Mixture(tuple("abcdefgh"), (1, 1, 2, 3, 4, 4, 3, 2), held), 4, 40, 5)
    before = order.interleaving.before(10**9).tolist()
    found = windows_of([(each, at, 8) for each, at in zip(order.orders.values(), before, strict=True)])
    digest = hashlib.sha256(np.concatenate(found).astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "bdb1591b46ecb8c1"


def test_repetition_is_counted_by_source() -> None:
    order = MixtureOrder(mixture((3, 1, 0)), SEQ_LEN, 4, 0)
    # 160 windows: 120 of web, which has 124, and 40 of code.
    assert order.unique_by_source(160 * SEQ_LEN) == {"web": 120 * SEQ_LEN, "code": 40 * SEQ_LEN}
    assert order.unique_by_source(320 * SEQ_LEN) == {"web": 124 * SEQ_LEN, "code": 80 * SEQ_LEN}
    assert order.unique_tokens(320 * SEQ_LEN) == 204 * SEQ_LEN
    assert order.epochs(320 * SEQ_LEN) == pytest.approx({"web": 240 / 124, "code": 80 / 375})
    read = windows(order, 320)
    assert len({int(start) for start in read[:, 0]}) == 204


def test_one_corpus_is_read_as_before() -> None:
    tokens = streams()[0]
    order = order_of(tokens, SEQ_LEN, 4, 3)
    assert order == Order(len(tokens), SEQ_LEN, 4, 3)
    np.testing.assert_array_equal(Reader(order, tokens).batches(5, 2), order.batches(tokens, 5, 2))
    mixed = mixture()
    np.testing.assert_array_equal(
        Reader(order_of(mixed, SEQ_LEN, 4, 3), mixed).batches(5, 2),
        MixtureOrder(mixed, SEQ_LEN, 4, 3).batches(mixed, 5, 2),
    )


@pytest.mark.parametrize("sources", [1, 2])
def test_pages_of_the_next_steps_are_asked_for(
    sources: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for covers what is read next; steps in another order are read all the same."""
    mapped = []
    for number in range(sources):
        np.arange(8_000, dtype="<u2").tofile(tmp_path / f"{number}.bin")
        shard = Shard("a", str(tmp_path / f"{number}.bin"), "<u2", 6, 7_997)
        mapped.append(TokenStream((shard,), whole([shard]), 8_000))
    tokens = mapped[0] if sources == 1 else Mixture(("a", "b"), (1, 1), tuple(mapped))
    order = order_of(tokens, SEQ_LEN, 4, 3)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(Mapped, "prefetch", lambda _, first, n: asked.append((first, first + n)))
    reader = Reader(order, tokens)
    for step, n in ((0, 2), (2, 2), (4, 1), (90, 2), (3, 2)):
        expected = order.batches(tokens, step, n)  # type: ignore[arg-type]
        np.testing.assert_array_equal(reader.batches(step, n), expected)
        behind = order.batches(tokens, step + n, n)  # type: ignore[arg-type]
        assert {(int(w[0]) - 3, int(w[-1]) - 2) for w in behind.reshape(-1, SEQ_LEN + 1)} == set(asked)
        asked.clear()


def test_no_pages_behind_a_stretch_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.arange(8_000, dtype="<u2").tofile(tmp_path / "a.bin")
    shard = Shard("a", str(tmp_path / "a.bin"), "<u2", 0, 8_000)
    stream = TokenStream((shard,), np.array([[0, 10, 60], [0, 500, 900]]), 8_000)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(Mapped, "prefetch", lambda _, first, n: asked.append((first, n)))
    stream.prefetch(np.array([0, 45, 50]), 20)
    assert asked == [(10, 20), (55, 5), (500, 20)]
    asked.clear()
    stream.windows(np.zeros(1, np.int64), 450)
    assert asked == [(10, 50), (500, 400)]


def test_asking_for_pages_takes_any_place(tmp_path: Path) -> None:
    np.arange(40_000, dtype="<u4").tofile(tmp_path / "a.bin")
    mapped = Shard("a", str(tmp_path / "a.bin"), "<u4", 12, 39_997).open()
    for first in (0, 1_020, 1_021, 5_000, 39_990):
        mapped.prefetch(first, 7)
    assert mapped.tokens[[0, -1]].tolist() == [3, 39_999]


def test_faults_are_named() -> None:
    short = Mixture(("web", "tiny"), (1, 1), (streams()[0], np.arange(8)))
    with pytest.raises(InputError, match=r"data\.sources\.tiny has 8 training tokens, expected at least one"):
        MixtureOrder(short, SEQ_LEN, 4, 0)
    order = MixtureOrder(mixture(), SEQ_LEN, 4, 0)
    with pytest.raises(ValueError, match="another mixture"):
        order.batches(mixture(), 0, 1)
    # One that is only scored may be as short as it likes.
    MixtureOrder(Mixture(("web", "tiny"), (1, 0), (streams()[0], np.arange(8))), SEQ_LEN, 4, 0)
