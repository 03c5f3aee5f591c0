"""A sweep in the middle of its training, made from the tables of the committed example."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from tests import ROOT

SOURCE = ROOT / "results" / "chinchilla"


def running_sweep(
    root: Path, until: int, factor: float = 1.0, after: int = 0
) -> tuple[str, dict[str, float]]:
    """Write the run folders of a sweep whose longest run of d96 is known until a step.

    One run of every other rung is finished; the other runs have not begun.

    Args:
        root: folder of the sweep; files of an earlier call are replaced.
        until: last step of the running run.
        factor: factor on its losses behind step `after`.
        after: last step without the factor.

    Returns:
        The running run, and the true losses of all its ends by point.
    """
    curves, points = (pd.read_parquet(SOURCE / f"{name}.parquet") for name in ("curves", "points"))
    shutil.copy(SOURCE / "sweep.json", root / "sweep.json")
    longest = str(points.loc[points[points.rung == "d96"].n_steps.idxmax(), "run_id"])
    trunks = points[(points.schedule == "wsd") & (points.seed == 50)]
    for run_id in trunks.run_id.unique():
        last = until if run_id == longest else np.inf
        rows = curves[(curves.run_id == run_id) & (curves.step <= last)].copy()
        if run_id == longest:
            late = rows.step > after
            for name in ("train_loss", "eval_loss"):
                rows.loc[late, name] *= factor
        folder = root / "runs" / run_id
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("curves", "points"):
            (folder / name).mkdir(parents=True)
        rows.to_parquet(folder / "curves" / f"trunk-000000016-{int(rows.step.max()):09d}.parquet")
        for point in points[(points.run_id == run_id) & (points.n_steps <= last)].itertuples():
            path = folder / "points" / f"{point.point_id}.json"
            path.write_text(json.dumps({"status": "done", "loss": point.loss}))
    own = points[points.run_id == longest]
    return longest, dict(zip(own.point_id, own.loss, strict=True))
