"""A platform or a flag that is not there is told before anything is planned."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.launch.local import environment
from harness.sweep import __main__ as sweep
from tests.small_sweeps import SMALL


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says; it neither plans nor writes."""
    assert sweep.main([*SMALL, f"results_dir={tmp_path / 'results'}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert not (tmp_path / "results").exists()
    return said.err


def test_a_platform_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    assert "JAX_PLATFORMS=nonsense: no such device here, cpu is; unset it" in refused(tmp_path, capsys)


def test_a_flag_that_xla_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_nonsense=1")
    message = refused(tmp_path, capsys)
    assert "--xla_nonsense=1" in message
    assert "take that out of XLA_FLAGS" in message


def test_nothing_is_started_to_check_what_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PROBE", ("no such program",))
    monkeypatch.setattr(environment.subprocess, "run", None)
    for platforms, flags in (("", ""), ("cpu", "--xla_force_host_platform_device_count=8")):
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        monkeypatch.setenv("XLA_FLAGS", flags)
        environment.check_environment()


def test_a_probe_that_waits_for_a_device_in_use_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    monkeypatch.setattr(environment, "PROBE", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(environment, "PROBE_SECONDS", 0.2)
    environment.check_environment()


@pytest.mark.parametrize(
    ("asked", "said", "words"),
    [
        ("cuda", "AssertionError", ["JAX_PLATFORMS=cuda", "cpu is", "--extra cuda12"]),
        ("tpu,cpu", "libtpu.so is missing", ["JAX_PLATFORMS=tpu,cpu", "--extra tpu"]),
        ("", "F1129 Could not open file", ["XLA_FLAGS=--xla_a", "Could not open file"]),
        ("", "", ["no word"]),
    ],
)
def test_one_sentence_names_the_variable(asked: str, said: str, words: list[str]) -> None:
    text = environment._why(asked, ["--xla_a"], said)
    assert [word for word in words if word not in text] == []
