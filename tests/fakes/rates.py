"""Learning-rate sweeps with planted best rates: a star of runs whose ln loss is a parabola in ln rate."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.learning_rate.study import RATE_COLUMNS
from analysis.study.study import study_sweep
from harness.config.settings import load, plain
from harness.records.columns import CURVE_COLUMNS, POINT_COLUMNS, as_table
from harness.records.files import write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from tests.fakes.record import cells_of, sweep_record
from tests.fakes.sweep import BATCH_TOKENS, point_row

CURVATURE = 0.03
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
# The recipe of every group, rate·(d_model/64)^exponent, and what would be best.
RECIPE = {"hidden": (0.006, -1.0), "embed": (0.1, -0.5), "head": (0.024, -1.0), "gain": (0.006, 0.0)}
BEST = {"hidden": (0.008, -0.8), "embed": (0.1, -0.5), "head": (0.018, -1.1), "gain": (0.006, 0.1)}


def rate(rule: tuple[float, float], width: int) -> float:
    return float(rule[0] * (width / 64) ** rule[1])


def rate_sweep(
    rng: np.random.Generator,
    noise: float = 0.001,
    widths: tuple[int, ...] = (16, 48, 96),
    groups: tuple[str, ...] = tuple(RECIPE),
    seeds: tuple[int, ...] = (0,),
    factors: tuple[float, ...] = FACTORS,
    best: dict[str, tuple[float, float]] = BEST,
    n_tokens: tuple[int, ...] = (524_288,),
    power: float = 0.0,
    batches: tuple[int, ...] = (BATCH_TOKENS,),
    batch_power: float = 0.0,
) -> pd.DataFrame:
    """points.parquet of a sweep: the base run once per cell and seed, then one group's rate at a time.

    The best rates vary as (tokens/524288)^`power` and as (batch/512)^`batch_power`.
    """
    stars = [{}, *({group: factor} for group in groups for factor in factors if factor != 1)]
    rows = []
    for width, tokens, batch, seed in itertools.product(widths, n_tokens, batches, seeds):
        shift = rng.normal(0, 0.01)  # common to the runs of a seed
        errors = shift + rng.normal(0, noise, len(stars))
        moved = (tokens / 524_288) ** power * (batch / BATCH_TOKENS) ** batch_power
        now = {group: (rate_64 * moved, exponent) for group, (rate_64, exponent) in best.items()}
        for star, error in zip(stars, errors, strict=True):
            row = _row(width, tokens, seed, star, now, error)
            rows.append(row | {"batch_tokens": batch, "run_id": f"{row['run_id']}-b{batch}"})
    return as_table(rows, POINT_COLUMNS)


def write_rate_folder(root: Path, points: pd.DataFrame) -> SweepFolder:
    """A finished learning-rate sweep under `root`."""
    folder = SweepFolder(root)
    write_table(folder.points, points)
    write_table(folder.curves, as_table([], CURVE_COLUMNS))
    write_record(folder.fits, study_sweep(points))
    about = sweep_record(
        grid="lr",
        command="python -m harness.sweep +grid=lr",
        recipe={"optim.hidden_lr": RECIPE["hidden"][0]},
        config={"grid": {"name": "lr"}, "optim": plain(load(["+grid=lr"]).optim)},
        cells=cells_of(points.to_dict("records")),
        seconds=99.0,
    )
    write_record(folder.sweep, about)
    return folder


def _row(
    width: int,
    n_tokens: int,
    seed: int,
    scale: dict[str, float],
    best: dict[str, tuple[float, float]],
    error: float,
) -> dict[str, Any]:
    rates = {group: rate(RECIPE[group], width) * scale.get(group, 1.0) for group in RECIPE}
    excess = sum(CURVATURE * np.log(rates[group] / rate(best[group], width)) ** 2 for group in RECIPE)
    row = point_row(width, n_tokens, seed, "lr", float(3.5 * (width / 64) ** -0.1 * np.exp(excess + error)))
    name = "-".join([f"d{width}-{n_tokens}-s{seed}", *(f"{g}{f:g}" for g, f in scale.items())])
    columns = {RATE_COLUMNS[group]: rates[group] for group in RECIPE}
    return row | columns | {"grid": "lr", "run_id": name, "trunk_id": name, "point_id": f"{name}-end"}
