"""Printed logs: nanoGPT, nanochat, modded-nanogpt, llm.c, OLMo, and JSON lines of Levanter."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.tables.numbers import Mark, read_number
from analysis.trackers.tracked import RunBuilder, TrackedRun, as_logged, flattened
from harness.records.errors import InputError

NUMBER = r"([-+]?(?:nan|inf|[\d.][\d.,]*(?:e[-+]?\d+)?))"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
LARGEST = 2**30  # bytes of a log
# A line of one program: its metrics in the order of the groups behind the step.
LINES: tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (program, re.compile(pattern.replace("#", NUMBER), re.IGNORECASE), names)
    for program, pattern, names in (
        ("nanoGPT", r"(?<!\S)step (\d+): train loss #, val loss #", ("train/loss", "val/loss")),
        ("nanoGPT", r"(?<!\S)iter (\d+): loss #", ("loss",)),
        ("nanochat", r"(?<!\S)step (\d+)(?:/\d+)?[^|]*\| (?:train )?loss: #.*?\| lrm: #", ("loss", "lrm")),
        ("nanochat", r"(?<!\S)step (\d+)(?:/\d+)?[^|]*\| (?:train )?loss: #", ("loss",)),
        ("nanochat", r"(?<!\S)step (\d+) \| validation bpb: #", ("val/bpb",)),
        ("nanochat", r"(?<!\S)step (\d+) \| validation loss: #", ("val/loss",)),
        ("modded-nanogpt", r"(?<!\S)step:(\d+)/\d+ val_loss:#", ("val_loss",)),
        ("modded-nanogpt", r"(?<!\S)step:(\d+)/\d+ train_loss:#", ("train_loss",)),
        ("llm.c", r"^s:(\d+) tel:#", ("val_loss",)),
        ("llm.c", r"^s:(\d+) trl:# lr:#", ("train_loss", "lr")),
        ("build-nanogpt", r"^(\d+) val #$", ("val_loss",)),
        ("build-nanogpt", r"^(\d+) train #$", ("train_loss",)),
    )
)
# OLMo prints its metrics below the step, one a line.
STEP_ABOVE = re.compile(r"\[step=([\d,]+)(?:/[\d,]+)?[,\]]")
BELOW = re.compile(rf"^\s+(\S[^=]*)={NUMBER}$", re.IGNORECASE)
# What is printed once, by the name of the setting.
SETTINGS = tuple(
    (name, re.compile(pattern.replace("#", r"([\d.,]+[KMBT]?)"), re.IGNORECASE))
    for name, pattern in (
        ("n_params_non_embedding", r"number of non-embedding parameters: #"),
        ("n_params", r"(?:total )?number of parameters: #"),
        ("n_params", r"^total\s*: #$"),
        ("n_params_transformer_matrices", r"^transformer_matrices\s*: #$"),
        ("tokens_per_step", r"tokens per iteration will be: #"),
        ("tokens_per_step", r"total batch size #\s*=>"),
        ("tokens_per_step", r"total desired batch size: #"),
    )
)
TRACKER = '"tracker"'


def read_printed(path: Path, text: str) -> TrackedRun | None:
    """Return the run whose log a text is; None if no line has a form that is known.

    Args:
        path: file of the log; its name without the suffix is that of the run.
        text: its content.
    """
    builder = RunBuilder(path.stem)
    lines = [ANSI.sub("", line).rstrip() for line in text.splitlines()]
    if any(TRACKER in line for line in lines):
        return _levanter(builder, path, lines)
    found: list[str] = []
    above: float | None = None
    for line in lines:
        olmo = STEP_ABOVE.search(line)
        if olmo:
            above = _number(olmo[1])
        elif above is not None and (below := BELOW.match(line)):
            builder.log(below[1].strip(), above, _number(below[2]))
            found.append("OLMo")
            continue
        elif line.strip():
            above = None
        found += _line(builder, line)
    return builder.build(f"{found[0]} log") if found else None


def _line(builder: RunBuilder, line: str) -> list[str]:
    """Take what a line says; return the program that prints such lines, in a list."""
    for program, pattern, names in LINES:
        match = pattern.search(line)
        if match:
            for name, value in zip(names, match.groups()[1:], strict=True):
                builder.log(name, float(match[1]), _number(value))
            return [program]
    for name, pattern in SETTINGS:
        match = pattern.search(line)
        if match:
            builder.settings.setdefault(name, match[1].rstrip(".,"))
            break
    return []


def _number(text: str) -> float:
    found = read_number(text.rstrip(".,"), Mark.GROUP)
    return float("nan") if found is None else found


def _levanter(builder: RunBuilder, path: Path, lines: list[str]) -> TrackedRun:
    """Return the run of JSON lines, which may stand behind what a logger puts before them."""
    for number, line in enumerate(lines, 1):
        if TRACKER not in line:
            continue
        try:
            record = json.loads(line[line.index("{") :])
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # A killed process leaves half a line.
                break
            raise InputError(f"line {number} of {path} is no JSON: leave it out") from error
        if not isinstance(record, Mapping):
            continue
        take_event(builder, record)
    return builder.build("Levanter metrics")


def take_event(builder: RunBuilder, record: Mapping[str, Any]) -> None:
    """Take one event of Levanter's JSON tracker: metrics of a step, hyperparameters or a summary."""
    step, metrics = as_logged(record.get("step")), record.get("metrics")
    if record.get("event") == "log" and step is not None and isinstance(metrics, Mapping):
        for name, value in flattened(metrics).items():
            number = as_logged(value)
            if number is not None:
                builder.log(name, step, number)
        return
    for key in ("hparams", "metrics", "summary"):
        part = record.get(key)
        if isinstance(part, Mapping):
            builder.settings |= flattened(part)
