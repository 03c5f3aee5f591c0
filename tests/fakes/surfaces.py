"""Frozen loss surfaces and tables made from them: the truths that fits are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cost import Cost, six_n
from analysis.frontier import Surface, local_exponent
from analysis.laws import find_law
from analysis.tables.table import LossTable, load_table
from harness.records.columns import CURVE_COLUMNS, POINT_COLUMNS, as_table

F64 = NDArray[np.float64]
FOREIGN = {"N": "n", "D": "d", "C": "c", "loss": "loss", "cluster": "trunk"}

WIDTHS = (16, 32, 48, 64, 96)
TOKENS = tuple(1_000_000 * 2**k for k in range(5))
LAYERS, VOCAB, SEQ_LEN = 3, 512, 128


@dataclass(frozen=True)
class Truth:
    """A named law with its true parameters."""

    law: str
    theta: tuple[float, ...]

    def loss(self, n: Any, d: Any) -> F64:
        n, d = np.broadcast_arrays(np.atleast_1d(n), np.atleast_1d(d))
        return find_law(self.law).value(np.array(self.theta), n, d)

    def surface(self, cost: Cost = six_n) -> Surface:
        return Surface(self.law, self.loss, cost, (1.0, 1e14))

    @property
    def a(self) -> float:
        closed = find_law(self.law).frontier(np.array(self.theta))
        assert closed is not None
        return closed.a


# Hoffmann et al.'s law as refitted by Besiroglu et al. (arXiv:2404.10102), one with equal exponents, and
# a joint one with the size of our own small runs.
CHINCHILLA = Truth("chinchilla", (1.8172, 482.01, 2085.43, 0.3478, 0.3658))
TIED = Truth("chinchilla", (1.5, 400.0, 400.0, 0.31, 0.31))
SMALL_JOINT = Truth("joint_e0", (1.5e4, 1.0e5, 0.5, 0.5, 0.3))
SMALL_ADDITIVE = Truth("chinchilla", (1.6, 60.0, 4000.0, 0.36, 0.60))


def isoflop_frame(
    truth: Truth,
    budgets: F64,
    reach: float = 4.0,
    sizes: int = 7,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    off_budget: float = 0.0,
) -> pd.DataFrame:
    """`sizes` sizes within a factor `reach` of the optimum of each budget, one run a cell."""
    rng = rng or np.random.default_rng(0)
    closed = find_law(truth.law).frontier(np.array(truth.theta))
    assert closed is not None
    rows = []
    for budget in budgets:
        best = closed.g * (budget / 6) ** closed.a
        n = best * np.geomspace(1 / reach, reach, sizes)
        c = budget * np.exp(off_budget * rng.uniform(-1, 1, sizes))
        d = c / (6 * n)
        loss = truth.loss(n, d) * np.exp(noise * rng.standard_normal(sizes))
        rows += [{"n": a, "d": b, "c": e, "loss": f} for a, b, e, f in zip(n, d, c, loss, strict=True)]
    return pd.DataFrame(rows).assign(trunk=np.arange(len(rows)))


def foreign_table(frame: pd.DataFrame) -> LossTable:
    """A frame of `isoflop_frame` as a table."""
    return load_table(frame, mapping=FOREIGN)


def counts(width: int) -> dict[str, int]:
    """The three parameter counts of a rung at depth 3."""
    body = 12 * LAYERS * width**2
    head = VOCAB * width
    return {
        "n_params": body + 2 * head + (2 * LAYERS + 1) * width,
        "n_params_matmul": body + head,
        "n_params_body": body + (2 * LAYERS + 1) * width,
    }


def flops_per_token(width: int) -> float:
    """Exact training FLOPs per token: matrices and attention scores."""
    return 6.0 * counts(width)["n_params_matmul"] + 12.0 * LAYERS * SEQ_LEN * width


def exact_exponent(truth: Truth, flops: F64) -> float:
    """Exponent a of n_params_matmul over the budgets under the exact FLOPs of the rungs."""
    ladder = np.array([[counts(w)["n_params_matmul"], flops_per_token(w)] for w in range(4, 400, 4)])

    def cost(n: F64) -> F64:
        return np.asarray(np.exp(np.interp(np.log(n), *np.log(ladder.T))))

    return local_exponent(Surface(truth.law, truth.loss, cost, (ladder[0, 0], ladder[-1, 0])), flops)


def sweep_points(
    truth: Truth,
    seed_sd: float = 0.003,
    seed: int = 0,
    seeded: tuple[tuple[int, int], ...] = ((16, 2), (48, 2)),
) -> pd.DataFrame:
    """points.parquet of a made-up sweep: rectangle, seeds, hold-out and cosine references.

    Points of a trunk share half the variance of the noise. Widths of `seeded` with the index of their
    token count are run with three seeds.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []

    def trunk(width: int, tokens: list[int], run_seed: int, role: str, schedule: str, lr: float) -> None:
        name = f"{schedule}-d{width}-s{run_seed}-{lr:g}-{tokens[0]}"
        common = rng.standard_normal()
        for n_tokens in tokens:
            shock = seed_sd * (common + rng.standard_normal()) / np.sqrt(2)
            n = counts(width)
            penalty = 0.01 * (schedule == "cosine") + 0.02 * abs(np.log2(lr))
            loss = float(truth.loss(n["n_params_matmul"], n_tokens)[0] * np.exp(shock + penalty))
            holdout = role == "fit" and flops_per_token(width) * n_tokens > HOLDOUT_FLOPS
            rows.append(
                _row(width, n_tokens, run_seed, "holdout" if holdout else role, schedule, lr, loss, name)
            )

    for width in WIDTHS:
        trunk(width, list(TOKENS), 0, "fit", "wsd", 1.0)
    for width, index in seeded:
        for run_seed in (1, 2):
            trunk(width, [TOKENS[index]], run_seed, "fit", "wsd", 1.0)
            trunk(width, [TOKENS[index]], run_seed, "reference", "cosine", 1.0)
        for lr in (0.5, 1.0, 2.0):
            trunk(width, [TOKENS[index]], 0, "reference", "cosine", lr)
    return as_table(rows, POINT_COLUMNS)


HOLDOUT_FLOPS = 1.2e13


def _row(
    width: int, n_tokens: int, seed: int, role: str, schedule: str, lr: float, loss: float, name: str
) -> dict[str, Any]:
    return counts(width) | {
        "run_id": name,
        "trunk_id": name,
        "point_id": f"{name}-{n_tokens}",
        "grid": "chinchilla",
        "rung": f"d{width}",
        "seed": seed,
        "n_layers": LAYERS,
        "d_model": width,
        "n_tokens": n_tokens,
        "n_unique_tokens": n_tokens,
        "flops": flops_per_token(width) * n_tokens,
        "flops_6nd": 6.0 * counts(width)["n_params_matmul"] * n_tokens,
        "loss": loss,
        "loss_sem": 0.002,
        "bits_per_byte": loss / 2,
        "hidden_lr": 0.006 * 64 / width * lr,
        "embed_lr": 0.25 * lr,
        "head_lr": 0.006 * lr,
        "batch_tokens": 512,
        "n_steps": n_tokens // 512,
        "schedule": schedule,
        "cooled": True,
        "role": role,
        "status": "done",
        "excluded_reason": None,
        "seconds": 1.0,
        "device": "cpu",
        "code_revision": "0" * 40,
        "corpus_id": "made-up",
        "tokenizer_id": "bpe-512",
        "vocab_size": 512,
        "unigram_nats": 5.3,
    }


def sweep_curves(truth: Truth, points: pd.DataFrame, steps: int = 60) -> pd.DataFrame:
    """curves.parquet of the fitted trunks: the loss of the surface, a little higher while uncooled."""
    rows: list[dict[str, Any]] = []
    trunks = points[(points.schedule == "wsd") & (points.seed == 0)].groupby("trunk_id")
    for name, group in trunks:
        n, last = int(group.n_params_matmul.iloc[0]), int(group.n_tokens.max())
        tokens = np.geomspace(last / 200, last, steps)
        loss = truth.loss(n, tokens) * 1.03
        per_token = float(group.flops.iloc[0] / group.n_tokens.iloc[0])
        for i, (count, value) in enumerate(zip(tokens, loss, strict=True)):
            row = dict.fromkeys(CURVE_COLUMNS, 0.0)
            row |= {"run_id": str(name), "point_id": None, "step": i, "n_tokens": int(count)}
            row |= {"flops": per_token * int(count), "train_loss": value, "eval_loss": value}
            rows.append(row)
    return as_table(rows, CURVE_COLUMNS)
