"""Columns of a sweep's tables, and their types.

`points.parquet` holds one row per finished end point, `curves.parquet` one row per logged step. Sweeps with
tasks also have `evals.parquet`, one row per metric, and `items.parquet`, one row per test item of an end
point. results/README.md lists unit and meaning of every column.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from harness.records.errors import InputError, printable

POINT_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "trunk_id": "string",
    "point_id": "string",
    "grid": "string",
    "rung": "string",
    "seed": "int64",
    "n_layers": "int64",
    "d_model": "int64",
    "n_params": "int64",
    "n_params_matmul": "int64",
    "n_params_body": "int64",
    "n_tokens": "int64",
    "n_unique_tokens": "int64",
    "flops": "float64",
    "flops_6nd": "float64",
    "loss": "float64",
    "loss_sem": "float64",
    "loss_blocks": "object",
    "bits_per_byte": "float64",
    "hidden_lr": "float64",
    "embed_lr": "float64",
    "head_lr": "float64",
    "gain_lr": "float64",
    "batch_tokens": "int64",
    "n_steps": "int64",
    "schedule": "string",
    "cooled": "bool",
    "role": "string",
    "status": "string",
    "excluded_reason": "string",
    "seconds": "float64",
    "device": "string",
    "code_revision": "string",
    "corpus_id": "string",
    "tokenizer_id": "string",
    "vocab_size": "int64",
    "unigram_nats": "float64",
}


CURVE_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "step": "int64",
    "n_tokens": "int64",
    "flops": "float64",
    "train_loss": "float64",
    "eval_loss": "float64",
    "hidden_lr": "float64",
    "grad_norm": "float64",
    "tokens_per_second": "float64",
    "mfu": "float64",
}


EVAL_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "n_tokens": "int64",
    "task": "string",
    "length": "int64",
    "n_shot": "int64",
    "split": "string",
    "metric": "string",
    "value": "float64",
    "sem": "float64",
    "n_items": "int64",
    "chance": "float64",
}


# Value of `split` in rows about the held-out text of one source of a mixture, whose name is in `task`.
OF_SOURCE = "source"


ITEM_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "n_tokens": "int64",
    "task": "string",
    "length": "int64",
    "n_shot": "int64",
    "item": "int64",
    "n_positions": "int64",
    "hits": "int64",
    "exact_match": "bool",
    "log_p_answer": "float64",
    "nll_per_token": "float64",
    "margin": "float64",
}


# Quantities of a finished point that are above 0, whatever was trained.
POSITIVE = (
    "n_params", "n_params_matmul", "n_params_body", "n_tokens", "flops", "flops_6nd", "loss", "bits_per_byte",
    "n_layers", "d_model", "batch_tokens", "n_steps",
)  # fmt: skip
UNKNOWN = ("bits_per_byte",)  # which may be null: of tokens without their tokenizer
# What a finished point is called by.
NAMED = ("run_id", "point_id", "rung", "role", "seed")
# Largest numbers of a logged step: beyond 2**53 no whole number of a double has a neighbour, and a
# model that knows nothing has a loss of the logarithm of its vocabulary.
LARGEST = {
    "step": 2**53, "n_tokens": 2**53, "flops": 1e200, "hidden_lr": 1e100, "train_loss": 1e9, "eval_loss": 1e9,
}  # fmt: skip
LEAST_LOSS = 1e-12  # whose inverse square is a number still
MAY_DIVERGE, MAY_BE_ZERO = ("train_loss", "eval_loss"), ("hidden_lr",)
DONE = "done"
LONGEST_VALUE = 60  # characters of a value in an error

# Column of a sweep whose grid has arms: the name of the arm of each point. Other sweeps lack it.
ARM = "arm"
ARM_ROLE = "arm"  # role of the points of every arm except the first, which no fit of the sweep sees


def point_columns(arms: bool) -> dict[str, str]:
    """Return the columns of points.parquet; a sweep with arms has one more."""
    return POINT_COLUMNS | {ARM: "string"} if arms else POINT_COLUMNS


# Columns that tables of earlier versions lack; there they count as null.
ADDED = frozenset({"loss_blocks", "mfu"})
# Types in words, if their own name says too little.
KINDS = {"object": "a list of numbers"}

# Names of columns in tables of schema version 1, and their names of today.
FORMER_NAMES = {"peak_lr": "hidden_lr", "lr": "hidden_lr"}

# Columns about how a run went on its machine, not about what it computed.
TIMING_COLUMNS = ("seconds", "tokens_per_second", "mfu", "device", "code_revision")


def with_current_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Rename columns of a sweep's table from schema version 1; leave other tables as they are."""
    old = former_names(frame.columns)
    return frame.rename(columns=old) if old else frame


def former_names(names: Collection[str]) -> dict[str, str]:
    """Return today's name of each column that has the one of schema version 1; none for other tables."""
    if "run_id" not in names:
        return {}
    return {was: now for was, now in FORMER_NAMES.items() if was in names and now not in names}


def as_table(rows: list[dict[str, Any]] | pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return rows as a frame with exactly `columns`, in order and with their types."""
    # A table without rows has its types too, so that it can be joined with others.
    return with_current_names(pd.DataFrame(rows)).reindex(columns=list(columns)).astype(columns)


def checked_columns(frame: pd.DataFrame, columns: dict[str, str], source: object) -> pd.DataFrame:
    """Return a table with values of the wanted types in its columns; a column of nulls alone gets its type.

    Args:
        frame: a table that may come from anywhere.
        columns: columns that it needs, with their types; others stay as they are.
        source: path of the table, for the error.

    Raises:
        InputError: a column is missing or holds something else.
    """
    missing = [name for name in columns if name not in frame and name not in ADDED]
    if missing:
        raise InputError(
            f"{source} lacks the columns {', '.join(missing)}: expected a table that python -m harness.sweep "
            "wrote, type its command again to write it anew"
        )
    frame = frame.assign(**{name: None for name in columns if name not in frame})
    empty = {name: kind for name, kind in columns.items() if frame[name].isna().all()}
    for name, kind in columns.items():
        if name not in empty and not _holds(frame[name], kind):
            shown = printable(str(frame[name].dropna().iloc[0]))[:LONGEST_VALUE]
            raise InputError(
                f"{source} holds {shown} in column {name}, expected {KINDS.get(kind, kind)}: type the "
                "sweep's command again, which writes the table anew"
            )
    # Types that cannot hold a null, or hold one that is neither true nor false.
    loose = {"int64": "float64", "bool": "object", "string": "object"}
    return frame.astype({name: loose.get(kind, kind) for name, kind in empty.items()})


def _holds(values: pd.Series[Any], kind: str) -> bool:
    """Return whether a column that is not all null holds values of a type."""
    if kind == "string":
        return pd.api.types.infer_dtype(values, skipna=True) == "string"
    if kind == "bool":
        return pd.api.types.is_bool_dtype(values)
    if kind == "object":
        return all(is_list(value) for value in values if value is not None)
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    # With nulls whole numbers are stored as floats.
    return kind != "int64" or bool((values.dropna() % 1 == 0).all())


def is_list(value: Any) -> bool:
    """Return whether a value is a list of finite numbers."""
    try:
        return np.ndim(value) == 1 and bool(np.isfinite(np.asarray(value, float)).all())
    except (TypeError, ValueError):
        return False


def check_done(points: pd.DataFrame, source: object, columns: Iterable[str] = POSITIVE) -> None:
    """Raise InputError unless every finished point is named, with positive finite sizes, tokens and losses.

    Args:
        points: a table of points with checked columns.
        source: path of the table, for the error.
        columns: columns to look at.
    """
    done = points[points["status"] == DONE]
    for name in NAMED:
        if name in done and done[name].isna().any():
            raise InputError(
                f"{source} has a finished point without {name}, expected one for each: type the sweep's "
                "command again, which writes the table anew"
            )
    for name in columns:
        values = done[name].to_numpy(float)
        known = np.isfinite(values) | (np.isnan(values) if name in UNKNOWN else False)
        wrong = np.flatnonzero(~known | (values <= 0))
        if len(wrong):
            raise InputError(
                f"{source} has {values[wrong[0]]:g} in column {name} of a finished point, expected a number "
                "above 0: type the sweep's command again, which writes the table anew"
            )


def checked_points(points: pd.DataFrame, source: object) -> pd.DataFrame:
    """Return a table of points with its columns and its finished points checked; raise InputError."""
    checked = checked_columns(points, POINT_COLUMNS, source)
    check_done(checked, source)
    return checked


def each_step_once(curves: pd.DataFrame) -> pd.DataFrame:
    """Return curves of one or more runs without the rows of a step that a later attempt logged again."""
    keys = [name for name in ("run_id", "point_id", "step") if name in curves]
    return curves.drop_duplicates(keys, keep="last")


def checked_curves(
    curves: pd.DataFrame, source: object, columns: Collection[str] = tuple(CURVE_COLUMNS)
) -> pd.DataFrame:
    """Return a table of curves whose steps and tokens are counts, and whose known losses are above 0.

    Args:
        curves: a table that may come from anywhere.
        source: path of the table, for the error.
        columns: those of CURVE_COLUMNS that are needed.

    Raises:
        InputError: a column is missing or holds something else.
    """
    wanted = {name: kind for name, kind in CURVE_COLUMNS.items() if name in columns}
    checked = checked_columns(curves, wanted, source)
    for name in [name for name in LARGEST if name in wanted]:
        values = checked[name].to_numpy(float)
        least = LEAST_LOSS if name in MAY_DIVERGE else 0.0
        wrong = ~((values > least) & (values <= LARGEST[name]))
        if name in MAY_DIVERGE:
            wrong &= np.isfinite(values)
        elif name in MAY_BE_ZERO:
            wrong &= values != 0
        if wrong.any():
            raise InputError(
                f"{source} has {values[wrong][0]:g} in column {name}, expected numbers above {least:g} up to "
                f"{LARGEST[name]:g}: type the sweep's command again, which writes the table anew"
            )
    return checked
