"""Simulated evaluations with a known truth: power laws under exact match, jumps, tasks never learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.emergence.read import AXES, EXACT, METRICS, SMOOTH, SPLIT, Evaluations, hits_by_task
from analysis.emergence.statistics.shapes import bend, logistic
from harness.records.columns import POINT_COLUMNS, as_table
from harness.records.files import write_table
from harness.records.paths import SweepFolder

Array = NDArray[np.float64]
Truth = Callable[[Array], Array]  # position of a size in decades from the smallest -> ln NLL

SIZES, SEEDS, ITEMS = 11, 5, 400
SMALLEST = 2e4
D = 4e6
SEED_SD = 0.1


def sizes(k: int = SIZES) -> Array:
    """N at √2 spacing."""
    return np.round(SMALLEST * 2 ** (np.arange(k) / 2))


def power_law(alpha: float, at_smallest: float, floor: float = 0.0) -> Truth:
    return lambda x: np.log(floor + at_smallest * 10 ** (-alpha * x))


def jump(drop: float, centre: float, width: float = 0.3, top: float = 2.0, alpha: float = 0.0) -> Truth:
    """A fall by `drop` in ln NLL over `width` decades (10–90 %), on a power law of exponent `alpha`."""
    return lambda x: np.log(top) - drop * logistic(x, centre, width) - alpha * np.log(10) * x


def quadratic(slope: float, curvature: float) -> Truth:
    return lambda x: np.log(2) - slope * x - curvature * x**2


def saturation(scale: float) -> Truth:
    """Exponential saturation of ln NLL over `scale` decades."""
    return lambda x: np.log(0.5) + 1.5 * np.exp(-x / scale)


def exponential(at: float, floor: float) -> Truth:
    """Exponential law in N with a floor: the NLL is down by 1/e at `at` decades."""
    return lambda x: np.log(floor + 2 * np.exp(-(10 ** (x - at))))


def knee(at: float, slope: float, softness: float) -> Truth:
    """Flat, then a fall by `slope` in ln NLL per decade without an end."""
    return lambda x: np.log(2) - slope * bend(x, at, softness)


def mixed_items(spread: float) -> Truth:
    """Items that are learned one by one at sizes of this spread in decades."""
    at = 0.75 + spread * np.random.default_rng(5).standard_normal(2000)
    return lambda x: np.log(0.1 + 2 * np.mean(logistic(-x[:, None], -at, 0.13), axis=1))


def flat(level: float) -> Truth:
    return lambda x: np.full_like(x, np.log(level))


def make_task(
    rng: np.random.Generator,
    task: str,
    truth: Truth,
    length: int,
    k: int = SIZES,
    seeds: int = SEEDS,
    n_items: int = ITEMS,
    difficulty: float = 0.0,
    together: bool = False,
    chance: float = 0.0,
    luck: float = 0.0,
    sd: float = SEED_SD,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Wide rows and item rows of one task.

    Item i has NLL per token nll·h_i with h log-normal of spread `difficulty` and mean 1; a position is right
    with probability e^(−nll·h_i), independently, or with `together` all positions of an answer at once. A
    share `luck` of the wrong answers is right by luck.
    """
    n = sizes(k)
    mean = truth(np.log10(n / n[0]))
    hard = np.exp(difficulty * rng.standard_normal(n_items) - difficulty**2 / 2)
    rows: list[dict[str, Any]] = []
    items: list[tuple[str, Any, Any, Array]] = []
    for size, level in zip(n, mean, strict=True):
        for seed in range(seeds):
            nll = float(np.exp(level + sd * rng.standard_normal()))
            p = np.exp(-nll * hard)[:, None]
            right = (
                np.repeat(rng.random((n_items, 1)), length, 1) if together else rng.random((n_items, length))
            )
            right = right < p
            right |= (rng.random(n_items) < luck)[:, None]
            point = f"d{size:.0f}-s{seed}"
            accuracy = right.mean(axis=0)
            values = (float((nll * hard).mean()), right.all(axis=1).mean(), accuracy.mean(), accuracy.prod(),
                      np.exp(-nll * hard * length).mean())  # fmt: skip
            scale = (size, 6 * size * D * (1 + 3e4 / size), D, 1.5 + 2.5 * (size / 2e4) ** -0.3)
            row = {"point_id": point, "task": task, "length": float(length), "seed": seed, "n_items": n_items,
                   "n_shot": 0, "split": SPLIT, "chance_exact": chance, "chance_nll": np.log(10)}  # fmt: skip
            rows.append(row | dict(zip((*AXES, *METRICS), (*scale, *values), strict=True)))
            hits = (right * (1 << np.arange(length))).sum(axis=1)
            items.append((point, hits.astype(np.int64), right.all(axis=1), nll * hard))
    return pd.DataFrame(rows), _item_rows(items, task, length, n_items)


def _item_rows(
    items: list[tuple[str, Any, Any, Array]], task: str, length: int, n_items: int
) -> pd.DataFrame:
    points, hits, exact, nll = zip(*items, strict=True)
    each = np.concatenate(nll)
    columns = {
        "point_id": np.repeat(points, n_items),
        "n_tokens": int(D),
        "task": task,
        "length": float(length),
        "n_shot": 0,
        "item": np.tile(np.arange(n_items), len(points)),
        "n_positions": length,
        "hits": np.concatenate(hits),
        "exact_match": np.concatenate(exact),
        "log_p_answer": -each * length,
        "nll_per_token": each,
        "margin": np.nan,
    }
    return pd.DataFrame(columns)


def evaluations(*tasks: tuple[pd.DataFrame, pd.DataFrame]) -> Evaluations:
    rows = pd.concat([rows for rows, _ in tasks], ignore_index=True)
    return Evaluations(rows, hits_by_task(pd.concat([items for _, items in tasks])))


def example(seed: int = 0, k: int = SIZES, seeds: int = SEEDS) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """One task of each kind."""
    rng = np.random.default_rng(seed)

    def task(*args: Any, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        return make_task(rng, *args, k=k, seeds=seeds, **options)

    return [
        task("addition", power_law(0.9, 2.0), 4),
        task("copy", power_law(0.7, 1.2), 8, difficulty=0.4),
        task("copy", power_law(0.7, 1.4), 16, difficulty=0.4),
        task("recall", jump(1.8, 0.75), 1),
        task("digit_sum", flat(2.33), 1, sd=0.01, chance=0.1),
        task("reverse", power_law(0.6, 1.5), 8, together=True),
    ]


def long_rows(wide: pd.DataFrame) -> pd.DataFrame:
    """evals.parquet from wide rows."""
    rows = wide.melt(
        id_vars=["point_id", "task", "length", "n_shot", "n_items", "chance_exact", "chance_nll"],
        value_vars=[name for name in METRICS if name in wide],
        var_name="metric",
    )
    chance = rows["chance_exact"].where(rows["metric"] == EXACT)
    rows["chance"] = chance.fillna(rows["chance_nll"].where(rows["metric"] == SMOOTH))
    rows = rows.assign(run_id=rows["point_id"], n_tokens=int(D), split=SPLIT, sem=0.01)
    return rows.drop(columns=["chance_exact", "chance_nll"])


def context_rows(points: pd.DataFrame) -> pd.DataFrame:
    """In-context learning of text and of Markov chains."""
    rows = []
    for point in points.itertuples():
        gain = 0.1 * np.log2(point.n_params_matmul / SMALLEST)
        common = {"run_id": point.run_id, "point_id": point.point_id, "n_tokens": point.n_tokens, "n_shot": 0,
                  "split": None, "sem": 0.01, "n_items": 200, "chance": None}  # fmt: skip

        def add(task: str, metric: str, length: float, value: float, common: dict[str, Any] = common) -> None:
            rows.append(common | {"task": task, "metric": metric, "length": length, "value": value})

        for edge in (1, 2, 4, 8, 16, 32, 64, 128):
            add("text", "loss_at_position", edge, point.loss + 1 - (0.1 + gain / 3) * np.log2(edge))
        add("text", "icl_early_loss", 0, point.loss + 0.5)
        add("text", "icl_late_loss", 0, point.loss + 0.5 - gain)
        add("text", "icl_score", 0, -gain)
        add("repeated", "prefix_matching_score", 1, 0.05 + gain)
        add("repeated", "repeated_sequence_score", 64, gain)
        for metric, value in {
            "model": 0.5 - gain / 2,
            "uniform": 0.5,
            "unigram": 0.3,
            "bigram_bayes": 0.1,
        }.items():
            add("markov", f"kl_{metric}", 4, max(value, 0.02))
    return pd.DataFrame(rows)


SHAPE = ("n_layers", "d_model", "batch_tokens", "n_steps")  # of which nothing here depends


def point_rows(wide: pd.DataFrame) -> pd.DataFrame:
    """points.parquet of the simulated runs."""
    first = wide.groupby("point_id", sort=False).first().reset_index()
    other = {"int64": 0, "float64": 0, "object": None}
    filled = {name: other.get(kind, "-") for name, kind in POINT_COLUMNS.items()}
    same = {"grid": "emergence", "bits_per_byte": 1.0, "cooled": True, "role": "fit", "status": "done",
            "excluded_reason": None, "unigram_nats": 5.3, **dict.fromkeys(SHAPE, 1)}  # fmt: skip
    rows = [
        filled
        | same
        | dict.fromkeys(("run_id", "trunk_id", "point_id"), row.point_id)
        | dict.fromkeys(("n_params", "n_params_matmul", "n_params_body"), row.N)
        | dict.fromkeys(("n_tokens", "n_unique_tokens"), row.D)
        | dict.fromkeys(("flops", "flops_6nd"), row.C)
        | {"rung": f"d{row.N:.0f}", "seed": row.seed, "loss": row.loss * (1 + 0.002 * (row.seed - 2))}
        for row in first.itertuples()
    ]
    return as_table(rows, POINT_COLUMNS)


def write_tables(root: Path, tasks: list[tuple[pd.DataFrame, pd.DataFrame]]) -> Path:
    """points, evals and items of a simulated sweep in `root`."""
    wide = pd.concat([rows for rows, _ in tasks], ignore_index=True)
    points = point_rows(wide)
    write_table(SweepFolder(root).points, points)
    evals = pd.concat([long_rows(wide), context_rows(points)], ignore_index=True)
    write_table(root / "evals.parquet", evals.astype({"split": "string", "run_id": "string"}))
    write_table(root / "items.parquet", pd.concat([items for _, items in tasks]))
    return root
