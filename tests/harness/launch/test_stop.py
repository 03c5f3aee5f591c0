"""Signals that end a driver, all of them as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from harness.launch.stop import as_interrupt
from harness.sweep import __main__ as sweep
from harness.sweep.sweep import Sweep
from tests.small_sweeps import SMALL

SIGNALS = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def nothing_ignored() -> Iterator[None]:
    """Handlers as in a terminal: under nohup, or behind `&`, the tests begin with ignored signals."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    usual |= {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_interrupt_and_a_second_one_nothing(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]

    def end_twice() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            for each in SIGNALS:
                os.kill(os.getpid(), each)

    with pytest.raises(KeyboardInterrupt), as_interrupt():
        end_twice()
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with as_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_sets_no_handlers() -> None:
    ended = []

    def enter() -> None:
        with as_interrupt():
            ended.append(True)

    thread = Thread(target=enter)
    thread.start()
    thread.join()
    assert ended == [True]


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGINT])
def test_every_signal_ends_the_command_with_the_same_sentence(
    number: signal.Signals,
    tmp_path: Path,
    data_cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    monkeypatch.setattr(Sweep, "_train", train)
    code = sweep.main([*SMALL, f"results_dir={tmp_path}/results", f"cache_dir={data_cache}"])
    assert code == 130
    said = capsys.readouterr().err
    assert said == "interrupted; the state is saved, the same command goes on from here\n"
