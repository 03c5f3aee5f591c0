"""Every command explains itself, and answers a mistake in one sentence with exit code 2."""

from __future__ import annotations

import argparse
import ast
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

import pytest
from rich.console import Console

from analysis import fit, import_runs, same_law, summary
from analysis.bench import __main__ as analysis_bench
from analysis.compare import __main__ as compare
from analysis.curves import __main__ as curves
from analysis.design import __main__ as design
from analysis.emergence import __main__ as emergence
from analysis.plan import __main__ as plan
from analysis.published import __main__ as published
from analysis.replications import __main__ as replications
from analysis.report import __main__ as report
from analysis.schemas import __main__ as schemas
from analysis.serve import __main__ as serve
from harness import cancel, coordinate_check, export, sample, status
from harness.aot import __main__ as aot
from harness.bench import __main__ as bench
from harness.bench import many_runs, preparation, scheduling, seeking, shards
from harness.data import curate
from harness.evaluate import __main__ as evaluate
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.replicate import __main__ as replicate
from harness.sweep import __main__ as sweep
from tests import ROOT

Main = Callable[[list[str]], int]
COMMANDS: dict[str, tuple[Main, str]] = {
    "harness.sweep": (sweep.main, "--from"),
    "harness.replicate": (replicate.main, "n=NUMBER"),
    "harness.status": (status.main, "--watch"),
    "harness.cancel": (cancel.main, "RUN_ID"),
    "harness.aot": (aot.main, "topology=KIND:SHAPE"),
    "harness.sample": (sample.main, "--top-p"),
    "harness.evaluate": (evaluate.main, "--data"),
    "harness.export": (export.main, "--to"),
    "harness.data.curate": (curate.main, "KEY=VALUE"),
    "harness.coordinate_check": (coordinate_check.main, "key=value"),
    "harness.bench": (bench.main, "--rungs"),
    "harness.bench.scheduling": (scheduling.main, "--large"),
    "harness.bench.many_runs": (many_runs.main, "--runs"),
    "harness.bench.preparation": (preparation.main, "--kill-at"),
    "harness.bench.seeking": (seeking.main, "--seeks"),
    "harness.bench.shards": (shards.main, "--repeats"),
    "analysis.fit": (fit.main, "--approach"),
    "analysis.import_runs": (import_runs.main, "--params-from"),
    "analysis.plan": (plan.main, "--flops"),
    "analysis.design": (design.main, "--next"),
    "analysis.curves": (curves.main, "--schedule"),
    "analysis.compare": (compare.main, "--noise"),
    "analysis.schemas": (schemas.main, "--out"),
    "analysis.summary": (summary.main, "folder"),
    "analysis.same_law": (same_law.main, "--count"),
    "analysis.report": (report.main, "folder"),
    "analysis.serve": (serve.main, "--port"),
    "analysis.emergence": (emergence.main, "--axis"),
    "analysis.replications": (replications.main, "--fixed"),
    "analysis.published": (published.main, "--resamples"),
    "analysis.bench": (analysis_bench.main, "--curves"),
}


def test_every_command_is_listed() -> None:
    """A module that makes a parser is a command: its help and its errors are tested here."""
    found = set()
    for package in ("harness", "analysis"):
        for path in (ROOT / package).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            if any(isinstance(call.func, ast.Name) and call.func.id == "CommandParser" for call in calls):
                found.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    assert found == set(COMMANDS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    main, option = COMMANDS[name]
    with pytest.raises(SystemExit, match=r"^0$"):
        main([flag])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m {name} ")
    assert option in said
    assert f"example:\n  python -m {name}" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_option_is_one_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS[name][0](["--hepl"]) == 2
    assert capsys.readouterr().err == "error: unknown option --hepl; did you mean --help?\n"


@contextmanager
def reader_has_left(redirect: Callable[[TextIO], AbstractContextManager[TextIO]]) -> Iterator[TextIO]:
    """A standard stream as a pipe whose reader has left, as after `| head -1`."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", encoding="utf-8") as stream, redirect(stream):
        yield stream


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_left_ends_a_command_quietly(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with reader_has_left(redirect_stdout) as stream:
        assert COMMANDS[name][0](["--help"]) == 141
        stream.write("the rest goes nowhere, without an error")
        stream.flush()
    assert capsys.readouterr().err == ""


WRITERS: dict[str, Callable[[], object]] = {
    "little": lambda: print("one line"),
    "much": lambda: print("line\n" * 100_000),
    "rich": lambda: Console().print("line"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_whatever_is_written_to_a_reader_that_left(writer: str, parser: CommandParser) -> None:
    with reader_has_left(redirect_stdout):
        assert parser.answer(["here"], lambda _: WRITERS[writer]() and 0) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
@pytest.mark.parametrize("writer", WRITERS)
def test_whatever_is_written_to_a_full_disk(
    writer: str, parser: CommandParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full, redirect_stdout(full):
        assert parser.answer(["here"], lambda _: WRITERS[writer]() and 0) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: what the command writes has no room (no space left on device); make")
    assert error.count("\n") == 1


def test_a_full_disk_of_any_file_is_one_sentence(
    parser: CommandParser, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(_: argparse.Namespace) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert parser.answer(["here"], act) == 2
    assert "has no room" in capsys.readouterr().err


def test_ctrl_c_is_one_line(parser: CommandParser, capsys: pytest.CaptureFixture[str]) -> None:
    def act(_: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    assert parser.answer(["here"], act) == 130
    assert capsys.readouterr().err == ("interrupted; the same command does it again\n")


def test_a_command_started_without_streams(parser: CommandParser) -> None:
    with redirect_stdout(None), redirect_stderr(None):
        assert parser.answer(["here"], lambda _: print("to nobody")) == 0
        assert parser.answer(["--wacth"], lambda _: 0) == 2


def test_a_broken_pipe_elsewhere_is_a_bug(parser: CommandParser) -> None:
    def act(_: argparse.Namespace) -> None:
        raise BrokenPipeError(errno.EPIPE, "a socket of a library")

    with pytest.raises(BrokenPipeError):
        parser.answer(["here"], act)


def test_a_mistake_told_to_nobody(parser: CommandParser) -> None:
    with reader_has_left(redirect_stderr):
        assert parser.answer(["--wacth"], lambda _: 0) == 141


@pytest.fixture
def parser() -> CommandParser:
    made = CommandParser("x", "Do it.", "python -m x", ("dry_run",))
    made.add_argument("folder")
    made.add_argument("overrides", nargs="*", default=[])
    made.add_argument("--watch", action="store_true")
    made.add_argument("--from", dest="record")
    made.add_argument("--kind", choices=("a", "b"))
    return made


def test_options_stand_anywhere_and_overrides_pass_through(parser: CommandParser) -> None:
    found = parser.read(["here", "+grid=a", "--from", "f", "~key", "--watch", "++b=[0,1]", "c=-1"])
    wanted = {"folder": "here", "overrides": ["+grid=a", "~key", "++b=[0,1]", "c=-1"]}
    assert vars(found) == wanted | {"watch": True, "record": "f", "kind": None}
    assert parser.read(["here", "--from=f", "--wat"]) == argparse.Namespace(
        folder="here", overrides=[], watch=True, record="f", kind=None
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--wacth"], "unknown option --wacth; did you mean --watch?"),
        (["here", "--wacth=1"], "unknown option --wacth=1; did you mean --watch?"),
        (["here", "--dryrun"], "unknown option --dryrun; did you mean dry_run?"),
        (["here", "-z"], "unknown option -z; --help lists the options"),
        ([], "the following arguments are required: folder; --help explains the options"),
        (["here", "--from"], "argument --from: expected one argument; --help explains the options"),
        (["here", "--kind", "c"], r"argument --kind: invalid choice: 'c' \(choose from 'a', 'b'\); --help"),
    ],
)
def test_a_mistake_is_an_input_error(parser: CommandParser, arguments: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match="^" + message.replace("?", "[?]")):
        parser.read(arguments)


def test_an_error_names_arguments_and_the_command_line_their_options(
    parser: CommandParser, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: argparse.Namespace) -> None:
        raise InputError("give another record", "record", "folder", "law")

    assert parser.answer(["here"], refuse) == 2
    assert capsys.readouterr().err == "error: give another record (--from)\n"


def test_the_exit_code_is_that_of_the_act(parser: CommandParser) -> None:
    assert parser.answer(["here"], lambda _: None) == 0
    assert parser.answer(["here"], lambda _: 130) == 130
