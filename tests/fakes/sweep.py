"""A made-up finished sweep with a known loss law, so that the report can be tested without any training.

The tables and JSON files have the shape that a real sweep writes; the numbers come from a joint law
L = (A·N^-α + B·D^-β)^γ with seed noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.records.columns import CURVE_COLUMNS, POINT_COLUMNS, as_table
from harness.records.files import write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from tests.fakes.law import SEED_SD, WIDTHS, joint_loss
from tests.fakes.record import cells_of, sweep_record, write_forecast
from tests.fakes.study import make_fits

TOKENS = tuple(500_000 * 2**k for k in range(5))
VOCAB, LAYERS, SEQ_LEN, BATCH_TOKENS = 512, 3, 128, 512
HOLDOUT = {(64, TOKENS[4]), (96, TOKENS[3]), (96, TOKENS[4])}
SEEDED = {(16, TOKENS[2]), (48, TOKENS[2])}
REFERENCE = {(16, TOKENS[1]), (32, TOKENS[2]), (64, TOKENS[2])}
Json = dict[str, Any]


def sizes(width: int) -> Json:
    matrices = 12 * LAYERS * width**2
    return {
        "n_params_matmul": matrices + VOCAB * width,
        "n_params_body": matrices + 2 * LAYERS * width + width,
        "n_params": matrices + 2 * LAYERS * width + width + 2 * VOCAB * width,
    }


def point_row(width: int, n_tokens: int, seed: int, role: str, loss: float, lr_scale: float = 1.0) -> Json:
    counts = sizes(width)
    schedule = "cosine" if role == "reference" else "wsd"
    trunk = f"{schedule}-d{width}-s{seed}-{lr_scale:g}"
    return counts | {
        "run_id": trunk,
        "trunk_id": trunk,
        "point_id": f"{trunk}-{n_tokens}",
        "grid": "chinchilla",
        "rung": f"d{width}",
        "seed": seed,
        "n_layers": LAYERS,
        "d_model": width,
        "n_tokens": n_tokens,
        "n_unique_tokens": n_tokens,
        "flops": 3.0 * (2 * counts["n_params_matmul"] + 4 * LAYERS * SEQ_LEN * width) * n_tokens,
        "flops_6nd": 6.0 * counts["n_params_matmul"] * n_tokens,
        "loss": loss,
        "loss_sem": 0.003,
        "bits_per_byte": loss / np.log(2) / 2.1,
        "hidden_lr": 0.4 / width * lr_scale,
        "embed_lr": 0.25,
        "head_lr": 0.4 / width,
        "gain_lr": 0.006,
        "batch_tokens": BATCH_TOKENS,
        "n_steps": n_tokens // BATCH_TOKENS,
        "schedule": schedule,
        "cooled": True,
        "role": role,
        "status": "done",
        "excluded_reason": "reference run" if role == "reference" else None,
        "seconds": n_tokens / 4e5,
        "device": "cpu",
        "code_revision": "0123abc",
        "corpus_id": "python-corpus",
        "tokenizer_id": "bpe-512",
        "vocab_size": 512,
        "unigram_nats": 5.3,
    }


def make_points(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for width in WIDTHS:
        for n_tokens in TOKENS:
            for seed in (0, 1, 2) if (width, n_tokens) in SEEDED else (0,):
                loss = joint_loss(sizes(width)["n_params_matmul"], n_tokens)
                role = "holdout" if (width, n_tokens) in HOLDOUT else "fit"
                noisy = loss * np.exp(rng.normal(0, SEED_SD))
                rows.append(point_row(width, n_tokens, seed, role, noisy))
            if (width, n_tokens) in REFERENCE:
                tuned = loss * np.exp(rng.normal(0.008, SEED_SD))
                rows.append(point_row(width, n_tokens, 0, "reference", tuned, lr_scale=0.7))
    diverged = point_row(96, TOKENS[1], 3, "fit", float("nan"), lr_scale=4.0)
    rows.append(diverged | {"status": "diverged", "excluded_reason": "loss not finite at step 210"})
    return as_table(rows, POINT_COLUMNS)


def curve_rows(points: pd.DataFrame) -> list[Json]:
    """Trunk (loss 6 % above its cooled end points) and one cooldown branch per end point."""
    rows = []
    done = points[points.status == "done"]
    for run_id, runs in done.groupby("run_id"):
        n, per_token = runs.n_params_matmul.iloc[0], (runs.flops / runs.n_tokens).iloc[0]
        last = int(runs.n_tokens.max())
        steps = np.unique(np.geomspace(40, last * 0.8 / BATCH_TOKENS, 60).astype(int))
        rate = float(runs.hidden_lr.iloc[0])
        segments = [(None, steps, np.full(len(steps), 1.06))]
        for point_id, n_tokens in zip(runs.point_id, runs.n_tokens, strict=True):
            ramp = np.linspace(0, 1, 8)
            branch = (n_tokens / BATCH_TOKENS * (0.8 + 0.2 * ramp)).astype(int)
            segments.append((point_id, branch, 1.06 - 0.06 * ramp))
        for point_id, at, factor in segments:
            tokens = at * BATCH_TOKENS
            loss = joint_loss(n, tokens) * factor
            rows += [
                {
                    "run_id": run_id,
                    "point_id": point_id,
                    "step": step,
                    "n_tokens": token,
                    "flops": float(per_token * token),
                    "train_loss": value,
                    "eval_loss": value if step % 3 == 0 or point_id else float("nan"),
                    "hidden_lr": rate * (value_factor - 1) / 0.06,
                    "grad_norm": 0.5,
                    "tokens_per_second": 4e5,
                }
                for step, token, value, value_factor in zip(at, tokens, loss, factor, strict=True)
            ]
    return rows


def make_sweep(root: Path, seed: int = 0) -> Path:
    """Write a finished made-up sweep under `root` and return it."""
    folder = SweepFolder(root)
    points = make_points(np.random.default_rng(seed))
    study, sealed = make_fits(points)
    write_table(folder.points, points)
    write_table(folder.curves, as_table(curve_rows(points), CURVE_COLUMNS))
    write_record(folder.fits, study)
    record = sweep_record(
        grid="chinchilla",
        command="python -m harness.sweep +grid=chinchilla",
        recipe={"model.n_layers": LAYERS, "data.corpus_id": "python-corpus"},
        config={"grid": {"name": "chinchilla", "seeds": [0]}, "data": {"vocab_size": VOCAB}},
        cells=cells_of(points.to_dict("records")),
        seconds=512.0,
        seconds_total=540.0,
    )
    write_record(folder.sweep, record)
    write_forecast(folder, sealed)
    return root
