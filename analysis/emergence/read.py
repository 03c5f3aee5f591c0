"""Evaluations of a sweep or of a published table as one frame, a row a point × task × length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.records.emergence import Axis
from analysis.records.fit import COUNTS
from analysis.tables.conditions import rows_with
from analysis.tables.frames import read_frame
from analysis.tables.names import column_of
from analysis.tables.numbers import Kind, mark_of, read_numbers, refuse_unread
from harness.records.columns import (
    EVAL_COLUMNS,
    ITEM_COLUMNS,
    OF_SOURCE,
    POINT_COLUMNS,
    check_done,
    checked_columns,
)
from harness.records.errors import InputError
from harness.records.files import read_table

SMOOTH, EXACT = "nll_per_token", "exact_match"
METRICS = (SMOOTH, EXACT, "position_accuracy", "position_accuracy_product", "p_answer")
KEYS = ("point_id", "task", "length")
ITEM_KEYS = (*KEYS, "n_shot", "item")
AXES = tuple(Axis)
SPLIT = "test"
TEXT = "text"
# Tasks whose rule is new in every document: a model can learn it from demonstrations only.
FROM_CONTEXT = ("functions",)
WIDE: tuple[str, ...] = (
    "N", "C", "D", "loss", "seed", "task", "length", "exact", "smooth", "perplexity", "score",
    "n_items", "chance",
)  # fmt: skip
LONG = ("metric", "value")
USABLE = (1e-300, 1e100)  # positive and finite, with room for squares
KINDS = {
    **dict.fromkeys(("N", "C", "D", "n_items", "length"), Kind.COUNT),
    **dict.fromkeys(("exact", "score", "chance"), Kind.SHARE),
}
HOW = "give results/<sweep>, its evals.parquet, or a table whose columns are mapped to N, smooth and exact"


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of a ladder of models.

    Attributes:
        frame: columns point_id, task, length, seed, N, C, D, loss (NaN if unknown), one column a metric of
            METRICS, `chance_nll`, `chance_exact`, n_items, n_shot, split.
        items: by (task, length) the bit masks of right positions: a row an item, a column a point, and
            `n_positions`.
        contexts: rows of evals.parquet on in-context learning, with N and D; empty if there are none.
        warnings: doubts about the table, in words.
    """

    frame: pd.DataFrame
    items: Mapping[tuple[str, float], pd.DataFrame] = field(default_factory=dict)
    contexts: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: tuple[str, ...] = ()


def read_evaluations(
    source: Path,
    mapping: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    count: str = COUNTS[0],
    chance: float | None = None,
    scale: Mapping[str, float] | None = None,
) -> Evaluations:
    """Read results/<sweep>, an evals.parquet with its neighbours, or with `mapping` a foreign table.

    Args:
        source: folder of a sweep, or a .csv or .parquet file.
        mapping: column of a foreign table by quantity: N, C, D, loss, task, exact, smooth …
        where: wanted value by column; other rows are dropped.
        count: column of points.parquet that counts N.
        chance: exact match of guessing, for tasks whose rows name none.
        scale: factor by quantity that brings a foreign column to our unit.

    Raises:
        InputError: no such file, columns missing, nothing finished, or no rows left by `where`.
    """
    if mapping:
        return read_foreign(read_frame(source), mapping, where or {}, chance, scale or {})
    path = source / "evals.parquet" if source.is_dir() else source
    if not path.exists():
        raise InputError(f"there is no {path}: {HOW}", "mapping")
    evals = _chosen(read_frame(path), where or {})
    missing = [name for name in EVAL_COLUMNS if name not in evals]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}: {HOW}", "mapping")
    evals = checked_columns(evals, EVAL_COLUMNS, path)
    beside = path.parent / "points.parquet"
    if not beside.exists():
        raise InputError(f"expected points.parquet beside {path}, which holds N, D and C: {HOW}", "mapping")
    points = checked_columns(read_table(beside), POINT_COLUMNS, beside)
    check_done(points, beside)
    return from_tables(evals, points, _read_items(path.parent / "items.parquet"), count, chance)


def _read_items(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    columns = {name: ITEM_COLUMNS[name] for name in (*ITEM_KEYS, "hits", "n_positions")}
    items = checked_columns(read_table(path), columns, path)[list(columns)]
    if items.duplicated(list(ITEM_KEYS)).any():
        raise InputError(
            f"{path} has an item of a point twice, expected each once: type the sweep's command again, which "
            "writes the table anew"
        )
    return items


def by_task(frame: pd.DataFrame) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Yield task, length and rows of each task × length, sorted."""
    for key, rows in frame.groupby(["task", "length"], sort=True):
        task, length = key
        yield str(task), float(str(length)), rows


def name_of(task: str, length: float) -> str:
    """Return the name of a task × length as shown.

    >>> name_of("copy", 16.0), name_of("text", 0.0)
    ('copy 16', 'text')
    """
    return f"{task} {length:g}" if length else task


def _chosen(frame: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows with the wanted values."""
    for column, value in where.items():
        frame = frame[rows_with(frame, column, value)]
    if frame.empty:
        raise InputError("no row is left: expected evaluations, check the conditions and the table", "where")
    return frame


def from_tables(
    evals: pd.DataFrame,
    points: pd.DataFrame,
    items: pd.DataFrame | None = None,
    count: str = COUNTS[0],
    chance: float | None = None,
) -> Evaluations:
    """Join the tables of a sweep; only finished end points count, steps on the way do not."""
    if count not in points:
        raise InputError(f"points.parquet has no column {count!r}: use n_params or another count", "count")
    done = points[points["status"] == "done"].rename(columns={count: "N", "flops": "C", "n_tokens": "D"})
    sizes = done[["point_id", "run_id", "seed", "N", "C", "D", "loss"]]
    final = evals[evals["point_id"].notna() & (evals["split"].fillna("") != OF_SOURCE)].drop(
        columns=["run_id", "n_tokens"]
    )
    final = final.merge(sizes, on="point_id")
    if final.empty:
        raise InputError(
            "no evaluation belongs to a finished point of points.parquet: let the sweep finish first"
        )
    own = _one_setting(final[final["metric"].isin(METRICS)])
    frame = _with_text(_wide(own, chance), sizes[sizes["point_id"].isin(own["point_id"])])
    hits = {} if items is None else hits_by_task(items.merge(own[list(ITEM_KEYS[:-1])].drop_duplicates()))
    return Evaluations(frame, hits, final[~final["metric"].isin(METRICS)])


def hits_by_task(items: pd.DataFrame) -> dict[tuple[str, float], pd.DataFrame]:
    """Return `Evaluations.items` from rows of items.parquet.

    Items that a point lacks are left out: a paired bootstrap needs the same items at every point.
    """
    found = {}
    for task, length, rows in by_task(items.assign(length=items["length"].fillna(0))):
        table = rows.pivot(index="item", columns="point_id", values="hits").dropna()
        positions = rows.drop_duplicates("item").set_index("item")["n_positions"]
        found[task, length] = table.assign(n_positions=positions.reindex(table.index))
    return found


def _one_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one split and one number of demonstrations for every task × length.

    Held-out problems are preferred, and the fewest demonstrations. A task whose rule is new in every document
    takes the most demonstrations instead, because without any its answer cannot be known.
    """
    kept = []
    for (task, _), own in rows.groupby(["task", "length"], sort=True, dropna=False):
        chosen = own[own["split"] == SPLIT] if (own["split"] == SPLIT).any() else own
        shots = chosen["n_shot"].fillna(0)
        kept.append(chosen[shots == (shots.max() if task in FROM_CONTEXT else shots.min())])
    return pd.concat(kept) if kept else rows


def _with_text(frame: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Add the held-out loss on text as a task, the smooth control, unless the table has it."""
    if (frame["task"] == TEXT).any():
        return frame
    text = sizes.assign(task=TEXT, length=0.0, n_shot=0, **{SMOOTH: sizes["loss"]})
    return pd.concat([frame, text.reindex(columns=frame.columns)], ignore_index=True)


def _wide(rows: pd.DataFrame, chance: float | None) -> pd.DataFrame:
    """Pivot from one row a metric to one row a point × task × length."""
    rows = rows.assign(length=rows["length"].astype(float).fillna(0), n_shot=rows["n_shot"].fillna(0))
    values = rows.pivot_table(
        index=list(KEYS), columns="metric", values="value", aggfunc="mean", observed=True
    )
    values = values.reindex(columns=list(METRICS))
    values.columns.name = None
    for metric, name in ((SMOOTH, "chance_nll"), (EXACT, "chance_exact")):
        own = rows[rows["metric"] == metric].groupby(list(KEYS))["chance"].first()
        values[name] = own
    if chance is not None:
        values["chance_exact"] = values["chance_exact"].fillna(chance)
    first = rows.groupby(list(KEYS))[["seed", "N", "C", "D", "loss", "n_items", "n_shot", "split"]].first()
    return values.join(first).reset_index()


def read_foreign(
    frame: pd.DataFrame,
    mapping: Mapping[str, str],
    where: Mapping[str, str],
    chance: float | None,
    scale: Mapping[str, float],
) -> Evaluations:
    """Read a published table, wide (one column a metric) or long (columns `metric` and `value`).

    The smooth metric is `smooth` (nats per token), `perplexity`, whose logarithm is taken, or `score`. A
    score is a share that rises to 1, such as BLEU, and minus its logarithm is taken; percent need a `scale`
    of .01.

    Raises:
        InputError: an unknown quantity, a missing column, no axis, two smooth metrics, shares above 1.
    """
    unknown = sorted(set(mapping) - {*WIDE, *LONG})
    if unknown:
        raise InputError(
            f"no key of the mapping is called {', '.join(unknown)}: use {', '.join((*WIDE, *LONG))}",
            "mapping",
        )
    mapping = {key: name.strip() for key, name in mapping.items()}
    for key, name in mapping.items():
        column_of(frame, name, f"the mapping for {key}", "mapping")
    unknown = sorted(set(scale) - set(WIDE))
    if unknown:
        raise InputError(
            f"no key of the scale is called {', '.join(unknown)}: use {', '.join(WIDE)}", "scale"
        )
    if not set(AXES) & set(mapping):
        raise InputError(
            "the mapping names no axis: add at least one of N=COLUMN, C=COLUMN, D=COLUMN, loss=COLUMN",
            "mapping",
        )
    chosen = _chosen(frame, where).reset_index(drop=True)
    if set(LONG) <= set(mapping):
        chosen, mapping = _pivoted(chosen, mapping)
    table, mark = pd.DataFrame({"point_id": chosen.index.astype(str)}), mark_of(chosen)
    for name in WIDE:
        table[name] = chosen[mapping[name]] if name in mapping else np.nan
        if name in mapping and name not in ("task", "seed"):
            read = read_numbers(table[name], KINDS.get(name, Kind.PLAIN), mark)
            for row, text in read.unread.items():
                raise refuse_unread(mapping[name], row, text, len(read.unread) - 1)
            table[name] = read.values * scale.get(name, 1.0)
    table["task"] = chosen[mapping["task"]].astype(str) if "task" in mapping else "task"
    named: list[str] = [name for name in ("smooth", "perplexity", "score") if name in mapping]
    if len(named) > 1:
        raise InputError(f"the mapping has {' and '.join(named)}: keep one smooth metric", "mapping")
    return _foreign_metrics(table, named, mapping, chance)


def _foreign_metrics(
    table: pd.DataFrame, named: list[str], mapping: Mapping[str, str], chance: float | None
) -> Evaluations:
    """Bring the metrics and chance levels of a wide foreign table to our names and units."""
    warnings = []
    for axis in AXES:
        outside = table[axis].notna() & ~table[axis].between(*USABLE)
        if outside.any():
            table = table[~outside].reset_index(drop=True)
            count = int(outside.sum())
            warnings.append(f"{count} rows have no positive and finite {mapping[axis]} and are left out")
    if table.empty:
        raise InputError("no row is left: expected positive and finite values along the axes", "mapping")
    table[SMOOTH] = np.nan
    if named:
        given = table[named[0]].where(table[named[0]].between(*USABLE))
        table[SMOOTH] = {"smooth": given, "perplexity": np.log(given), "score": -np.log(given)}[named[0]]
        unusable = int((~(table[SMOOTH] > 0)).sum())
        if unusable:
            warnings.append(f"{unusable} rows have no usable {mapping[named[0]]} and are left out")
    table[EXACT] = table["exact"]
    wrong = table[EXACT].dropna()
    if len(wrong) and not wrong.between(0, 1).all():
        raise InputError(
            f"{mapping['exact']} reaches {wrong.max():g}: expected shares from 0 to 1; give the "
            "scale exact=0.01 for percent",
            "scale",
        )
    table["chance_exact"] = table["chance"]
    if "chance" not in mapping:
        table["chance_exact"] = 0.0 if chance is None else chance
        if chance is None and "exact" in mapping:
            warnings.append(
                "the table names no chance level: it is taken as 0; give a level, or map a column to chance"
            )
    table["chance_nll"] = np.nan
    table = table.assign(n_shot=0, split=None, length=table["length"].fillna(0))
    table = table.reindex(columns=[*table.columns, *(m for m in METRICS if m not in table)])
    return Evaluations(table, warnings=tuple(warnings))


def _pivoted(frame: pd.DataFrame, mapping: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Pivot a long table to a wide one; its metrics must have our names."""
    metric, value = mapping["metric"], mapping["value"]
    index = [column for key, column in mapping.items() if key not in LONG]
    wide = frame.pivot_table(index=index, columns=metric, values=value, aggfunc="mean", dropna=True)
    names = {"exact": EXACT, "smooth": SMOOTH, "perplexity": "perplexity", "score": "score"}
    found = {key: name for key, name in names.items() if name in wide}
    if not found:
        there = ", ".join(map(str, wide.columns))
        raise InputError(
            f"column {metric!r} holds the metrics {there}: expected {EXACT} and {SMOOTH} or a score"
        )
    rest = {key: column for key, column in mapping.items() if key not in LONG}
    return wide.reset_index(), {**rest, **found}
