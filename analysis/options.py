"""The command line of `analysis.fit`: its options, and the pairs that some of them hold."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from analysis.solver import ESTIMATORS
from harness.records import InputError

APPROACHES = ("parametric", "isoflop", "envelope", "kaplan")


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


def parser() -> argparse.ArgumentParser:
    """The command line of `analysis.fit`."""
    command = argparse.ArgumentParser(prog="python -m analysis.fit", description="Fit loss laws to a table.")
    command.add_argument("table", type=Path, help=".csv or .parquet, one row a finished run")
    command.add_argument("--law", default="chinchilla", help="which law (a wrong name lists them)")
    command.add_argument(
        "--approach",
        default="parametric",
        choices=(*APPROACHES, "all"),
        help="all compares them, with a contest of laws, and marks the row to quote",
    )
    command.add_argument("--estimator", default="huber", help=f"one of {', '.join(ESTIMATORS)}")
    command.add_argument("--count", default="n_params_matmul", help="column that holds N in our own tables")
    command.add_argument("--loss", default="loss", help="column that holds the loss")
    command.add_argument(
        "--map",
        help="columns of a foreign table: N=params,D=tokens,loss=val,C=flops; N=total|body compares two "
        "counts with --approach all; C= leaves a column out",
    )
    command.add_argument("--scale", help="units of N, D or C: N=1e9,D=1e6 for billions and millions")
    command.add_argument("--where", help="keep rows with these values: dataset=c4,schedule=cosine")
    command.add_argument("--resamples", type=int, default=1000, help="bootstrap refits, 0 for none")
    command.add_argument("--level", type=float, default=0.95, help="of the intervals")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", type=Path, help="write the result here")
    return command


def reading(arguments: argparse.Namespace) -> tuple[dict[str, str], dict[str, float], dict[str, str]]:
    """How to read the table: the columns of quantities, their units, and the values of wanted rows."""
    mapping = parse_pairs(arguments.map, "--map", "N=COLUMN,D=COLUMN,loss=COLUMN")
    return mapping, parse_scale(arguments.scale), parse_pairs(arguments.where, "--where", "COLUMN=VALUE")
