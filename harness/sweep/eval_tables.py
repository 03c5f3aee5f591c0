"""Tables of evals.parquet, printed at the end of a sweep: exact match by task, loss by source."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from harness.data.tasks.families import FAMILIES
from harness.records.columns import OF_SOURCE

TASK_TITLE = "exact match without demonstrations (in brackets: guessing), mean over seeds"
SOURCE_TITLE = (
    "loss on the held-out text of each source, nats a token, after the most tokens, mean over seeds"
)
# Tasks with a new rule in every document: nobody can know the answer without demonstrations.
FROM_CONTEXT = [name for name, family in FAMILIES.items() if family.shared]


def task_table(evals: pd.DataFrame, points: pd.DataFrame) -> Table:
    """Return exact match with one row per task and length and one column per size.

    Each size counts at its largest token count. Tasks are shown without demonstrations, those of FROM_CONTEXT
    with the largest number of demonstrations.

    Args:
        evals: evals.parquet.
        points: points.parquet.
    """
    final = evals[(evals.metric == "exact_match") & evals.point_id.notna()]
    most = final.groupby(["task", "length"]).n_shot.transform("max")
    final = final[final.n_shot == most.where(final.task.isin(FROM_CONTEXT), 0)]
    sizes = points[["point_id", "d_model", "rung"]]
    final = final.merge(sizes, on="point_id")
    final = final[final.n_tokens == final.groupby("rung").n_tokens.transform("max")]
    rungs = final.drop_duplicates("rung").sort_values("d_model").rung
    table = Table(title=TASK_TITLE, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("task", no_wrap=True)
    for name in rungs:
        table.add_column(name, justify="right", no_wrap=True)
    for (task, length), group in final.groupby(["task", "length"], sort=False):
        means = group.groupby("rung").value.mean()
        chance = group.chance.iloc[0]
        shown = [f"{means[name]:.2f}" if name in means else "–" for name in rungs]
        shots = f" after {group.n_shot.iloc[0]}" if task in FROM_CONTEXT else ""
        table.add_row(f"{task} {length}{shots} ({chance:.2g})", *shown)
    return table


def source_table(evals: pd.DataFrame, points: pd.DataFrame) -> Table:
    """Return the loss with one row per source and one column per size.

    Args:
        evals: evals.parquet.
        points: points.parquet.
    """
    rows = evals[(evals.split == OF_SOURCE) & (evals.metric == "loss")]
    rows = rows[rows.point_id.notna()].merge(points[["point_id", "d_model", "rung"]], on="point_id")
    rows = rows[rows.n_tokens == rows.groupby("rung").n_tokens.transform("max")]
    rungs = rows.drop_duplicates("rung").sort_values("d_model").rung
    table = Table(title=SOURCE_TITLE, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("source", overflow="fold")
    for name in rungs:
        table.add_column(name, justify="right", no_wrap=True)
    for source, group in rows.groupby("task", sort=False):
        means = group.groupby("rung").value.mean()
        table.add_row(str(source), *(f"{means[name]:.3f}" if name in means else "–" for name in rungs))
    return table
