"""Printed logs: nanoGPT, nanochat, modded-nanogpt, llm.c, OLMo, OLMo-core, and JSON lines of Levanter."""

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
        ("llm.c", r"^s:(\d+) trl:#$", ("train_loss",)),
        ("build-nanogpt", r"^(\d+) val #$", ("val_loss",)),
        ("build-nanogpt", r"^(\d+) train #$", ("train_loss",)),
    )
)
# OLMo and OLMo-core print metrics below the step, one a line, and those of an evaluation below a line of
# its own. OLMo-core leaves the name of the evaluator out there; elsewhere it goes before the metric.
STEP_ABOVE = re.compile(r"\[step=([\d,]+)(?:/[\d,?]+)?[,\]]")
EVALUATED = re.compile(r"Finished (\S+) evals in .* Metrics:$")
OF_EVALUATION = "eval/"
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
    olmo = _OlmoLines()
    for line in lines:
        metric = olmo.metric(line)
        if metric is not None:
            builder.log(*metric)
            found.append("OLMo")
            continue
        found += _line(builder, line)
    return builder.build(f"{found[0]} log") if found else None


class _OlmoLines:
    """Reads metrics that stand below the line of a step or of an evaluation.

    Evaluations name no step. They are of the step printed last: OLMo evaluates after it has printed a step,
    OLMo-core may print the step of an evaluation behind it, which then counts as the logged step before.
    """

    def __init__(self) -> None:
        self._step: float | None = None
        self._is_below_step = False
        self._prefix = ""

    def metric(self, line: str) -> tuple[str, float, float] | None:
        """Return name, step and value of the metric on a line; None if it holds none."""
        found = STEP_ABOVE.search(line)
        if found:
            self._step, self._is_below_step, self._prefix = _number(found[1]), True, ""
            return None
        below = BELOW.match(line)
        if below is None or self._step is None:
            evaluated = EVALUATED.search(line)
            if line.strip():
                self._is_below_step = False
                self._prefix = f"{OF_EVALUATION}{evaluated[1]}/" if evaluated else ""
            return None
        name = self._prefix + below[1].strip()
        if not self._is_below_step and not name.startswith(OF_EVALUATION):
            return None
        return name, self._step, _number(below[2])


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
        # Levanter joins the names of nested metrics by strokes.
        for name, value in flattened(metrics, join="/").items():
            number = as_logged(value)
            if number is not None:
                builder.log(name, step, number)
        return
    for key in ("hparams", "metrics", "summary"):
        part = record.get(key)
        if isinstance(part, Mapping):
            builder.settings |= flattened(part)
