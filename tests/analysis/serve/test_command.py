"""The command: what it prints, how it ends, and mistakes in one sentence."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.serve.__main__ import main
from analysis.serve.server import Server
from tests import ROOT, preloaded
from tests.fakes.runs import planned_sweep


def test_it_prints_its_address_and_ends_at_an_interrupt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned_sweep(tmp_path / "one")

    def interrupted(server: Server) -> None:
        assert server.server_address[0] == "127.0.0.1"
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert re.match(rf"1 sweep of {tmp_path} at http://127\.0\.0\.1:\d+/\nCtrl-C ends it", said.out)
    assert said.err == ""


def test_ctrl_c_ends_the_process_with_0(tmp_path: Path) -> None:
    planned_sweep(tmp_path / "one")
    command = [sys.executable, "-m", "analysis.serve", str(tmp_path)]
    process = preloaded.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    assert process.stdout
    assert "http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert "Traceback" not in said


def test_the_folder_is_results_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: expected a folder that holds sweeps, got results")


def missing(folder: Path) -> list[str]:
    return [str(folder / "nowhere")]


def empty(folder: Path) -> list[str]:
    return [str(folder)]


def a_file(folder: Path) -> list[str]:
    (folder / "file").touch()
    return [str(folder / "file")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (missing, "which is no folder"),
        (a_file, "which is no folder"),
        (empty, "holds no sweep"),
        (lambda folder: [str(folder), "--port", "70000"], "expected a number from 0 to 65535, got '70000'"),
        (lambda folder: [str(folder), "--port", "-1"], "expected"),
        (lambda folder: [str(folder), "--port", "http"], "expected a number from 0 to 65535"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: Callable[[Path], list[str]], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path)) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned_sweep(tmp_path / "one")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([str(tmp_path), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error == f"error: port {port} is taken: give another port, or 0 for a free one (--port)\n"
