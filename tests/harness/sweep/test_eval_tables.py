"""The table that a sweep with tasks ends with."""

from __future__ import annotations

import pandas as pd
from rich.console import Console

from harness.records.columns import EVAL_COLUMNS, as_table
from harness.sweep.eval_tables import task_table


def test_exact_match_by_task_and_size_is_the_mean_over_seeds() -> None:
    points = pd.DataFrame(
        [
            {"point_id": f"{rung}-{seed}-{tokens}", "rung": rung, "d_model": width}
            for rung, width in (("d32", 32), ("d8", 8))
            for seed in (0, 1)
            for tokens in (100, 200)
        ]
    )
    rows = [
        {
            "run_id": "r", "point_id": point, "n_tokens": int(point.split("-")[2]), "task": task, "length": 4,
            "n_shot": n_shot, "split": "test", "metric": metric, "sem": 0.1, "n_items": 9, "chance": 0.25,
            "value": 0.4 + 0.2 * int(point.split("-")[1]) if point.endswith("200") else 0.0,
        }
        for point in points.point_id
        for task in ("copy", "recall")
        for metric, n_shot in (("exact_match", 0), ("exact_match", 1), ("p_answer", 0))
        if (task, point[:3]) != ("recall", "d8-")
    ]  # fmt: skip
    console = Console(width=100, record=True)
    console.print(task_table(as_table(rows, EVAL_COLUMNS), points))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["task", "d8", "d32"] in lines
    assert ["copy", "4", "(0.25)", "0.50", "0.50"] in lines
    assert ["recall", "4", "(0.25)", "–", "0.50"] in lines
