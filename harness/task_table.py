"""What a sweep with tasks ends with: exact match by task, length and size."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

TITLE = "exact match without demonstrations, mean over seeds (in brackets: guessing)"


def task_table(evals: pd.DataFrame, points: pd.DataFrame) -> Table:
    """One row a task and length, one column a size, at the largest token count of that size."""
    final = evals[(evals.metric == "exact_match") & (evals.n_shot == 0) & evals.point_id.notna()]
    sizes = points[["point_id", "d_model", "rung"]]
    final = final.merge(sizes, on="point_id")
    final = final[final.n_tokens == final.groupby("rung").n_tokens.transform("max")]
    rungs = final.drop_duplicates("rung").sort_values("d_model").rung
    table = Table(title=TITLE, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("task", no_wrap=True)
    for name in rungs:
        table.add_column(name, justify="right", no_wrap=True)
    for (task, length), group in final.groupby(["task", "length"], sort=False):
        means = group.groupby("rung").value.mean()
        chance = group.chance.iloc[0]
        shown = [f"{means[name]:.2f}" if name in means else "–" for name in rungs]
        table.add_row(f"{task} {length} ({chance:.2g})", *shown)
    return table
