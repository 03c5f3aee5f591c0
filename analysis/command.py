"""What the command `analysis.fit` does once its words are parsed: read, fit, and say the result."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import numpy as np

from analysis.bootstrap import KINDS
from analysis.doubts import with_doubts
from analysis.fit import fit_law
from analysis.result import Fit
from analysis.table import LossTable, load_table, read_frame
from harness.records import InputError


def parse_pairs(text: str | None, option: str, example: str) -> dict[str, str]:
    """`N=params,D=tokens` as a dictionary."""
    if not text:
        return {}
    pairs = [entry.split("=", 1) for entry in text.split(",")]
    wrong = [pair[0] for pair in pairs if len(pair) != 2]
    if wrong:
        raise InputError(f"{option} has {wrong[0]!r} without '=': type it as {example}")
    return {key.strip(): value.strip() for key, value in pairs}


def parse_scale(text: str | None) -> dict[str, float]:
    """`N=1e9,D=1e6` as positive factors."""
    scale: dict[str, float] = {}
    for key, value in parse_pairs(text, "--scale", "N=1e9,D=1e6").items():
        try:
            scale[key] = float(value)
        except ValueError:
            scale[key] = np.nan
        if not 0 < scale[key] < np.inf:
            raise InputError(f"--scale has {key}={value}: expected a positive number such as {key}=1e9")
    return scale


def reading(arguments: argparse.Namespace) -> tuple[dict[str, str], dict[str, float], dict[str, str]]:
    """How to read the table: the columns of quantities, their units, and the values of wanted rows."""
    mapping = parse_pairs(arguments.map, "--map", "N=COLUMN,D=COLUMN,loss=COLUMN")
    return mapping, parse_scale(arguments.scale), parse_pairs(arguments.where, "--where", "COLUMN=VALUE")


def fit_approach(
    table: LossTable,
    approach: str,
    law: str,
    estimator: str,
    *,
    level: float,
    resamples: int,
    seed: int,
    kind: str = KINDS[0],
) -> list[Fit]:
    """The fits of one approach, with the doubts about the table; `kind` of bootstrap as in `fit_law`."""
    if approach == "parametric":
        fit = fit_law(table, law, estimator, resamples, level, seed, kind=kind)
        return [with_doubts(fit, table)]
    module = importlib.import_module(f"analysis.{approach}")
    found = getattr(module, f"fit_{approach}")(table, level=level, resamples=resamples, seed=seed)
    return [with_doubts(fit, table) for fit in (found if isinstance(found, list) else [found])]


def one(arguments: argparse.Namespace) -> tuple[str, Any]:
    """Text and JSON of one approach."""
    mapping, scale, where = reading(arguments)
    if "|" in mapping.get("N", ""):
        raise InputError(f"--map has several columns for N, {mapping['N']}: type one, or --approach all")
    table = load_table(arguments.table, mapping, arguments.count, arguments.loss, scale, where)
    options = {"level": arguments.level, "resamples": arguments.resamples, "seed": arguments.seed}
    kind = arguments.bootstrap
    fits = fit_approach(table, arguments.approach, arguments.law, arguments.estimator, **options, kind=kind)
    entries = [fit.to_dict() for fit in fits]
    return "\n\n".join(fit.summary() for fit in fits), entries if len(entries) > 1 else entries[0]


def every(arguments: argparse.Namespace) -> tuple[str, Any]:
    """Text and JSON of all approaches."""
    comparing = importlib.import_module("analysis.compare")
    written = importlib.import_module("analysis.compare_text")
    mapping, scale, where = reading(arguments)
    frame = read_frame(arguments.table)
    tables = comparing.counted_tables(frame, mapping, arguments.count, arguments.loss, scale, where)
    options = (arguments.law, arguments.estimator, arguments.resamples, arguments.level, arguments.seed)
    found = comparing.compare(tables, *options)
    return written.comparison_text(found), found.entries()
