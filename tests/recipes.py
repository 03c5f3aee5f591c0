"""Tiny recipes and inputs for tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from harness.engine.mesh import make_mesh
from harness.engine.step import DEFAULTS
from harness.evaluate.eval_set import EvalSet
from harness.execution.execution import Execution, MeshConfig
from harness.grid.cells import Cell
from harness.recipe.spec import DataSpec, Job, ModelSpec, OptimSpec, RunSpec, ScheduleSpec
from harness.records.errors import Damaged
from harness.records.paths import RunFolder, SweepFolder
from harness.runs.collect import collect_curves, collect_points, read_points
from harness.train.loop import TrainInputs, train_job
from harness.weights.kept import Keep
from tests.small_sweeps import without_times

VOCAB = 32
SEQ_LEN = 16
BATCH = 4
INTERVAL = 4
RASTER = SEQ_LEN * BATCH * INTERVAL


def model(**changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "n_layers": 2, "d_model": 16, "n_heads": 2, "d_ff": 32, "vocab_size": VOCAB, "seq_len": SEQ_LEN,
        "mlp": "gelu", "qk_norm": False, "key_shift": False,
        "rope_theta": 1e4, "norm_eps": 1e-6,
    }  # fmt: skip
    return ModelSpec(**(values | changes))  # type: ignore[arg-type]


# Changes of `model`, for the options of its shape that are off by default, and all together.
OPTIONS: dict[str, dict[str, object]] = {
    "shared keys": {"n_heads": 4, "n_kv_heads": 2, "qk_norm": True, "key_shift": True},
    "tied": {"tied_embeddings": True},
    "windows": {"window": 4, "full_every": 2},
    "dropout and z-loss": {"dropout": 0.2, "z_loss": 0.1},
}
ALL_OPTIONS = {key: value for changes in OPTIONS.values() for key, value in changes.items()}
SHAPES = {
    "plain": model(),
    "swiglu": model(mlp="swiglu", qk_norm=True, key_shift=True),
    **{name: model(**changes) for name, changes in OPTIONS.items()},
    "all": model(**ALL_OPTIONS),
}


def optim(**changes: object) -> OptimSpec:
    values: dict[str, object] = {
        "batch_size": BATCH, "hidden_lr": 0.01, "embed_lr": 0.1, "head_lr": 0.02, "gain_lr": 0.01,
        "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0, "grad_clip": 1.0,
    }  # fmt: skip
    return OptimSpec.from_dict(values | changes)


def run_spec(seed: int = 0, kind: str = "wsd", n_steps: int | None = None, **parts: object) -> RunSpec:
    values: dict[str, object] = {
        "rung": "d16", "model": model(), "optim": optim(),
        "schedule": ScheduleSpec(kind, 4, 0.25, 0.0, n_steps),
        "data": DataSpec("corpus", "tokenizer", 5.0, 512, 128), "seed": seed, "log_interval": INTERVAL,
    }  # fmt: skip
    return RunSpec(**(values | parts))  # type: ignore[arg-type]


def tokens(n: int = 20_000, seed: int = 7) -> np.ndarray:
    """A learnable stream: a noisy walk over the vocabulary."""
    steps = np.random.default_rng(seed).choice([1, 2, 3, 11], size=n, p=[0.6, 0.2, 0.1, 0.1])
    return (np.cumsum(steps) % VOCAB).astype(np.uint16)


def windows(n: int, batch: int = BATCH, seed: int = 3) -> np.ndarray:
    stream = tokens(n * batch * (SEQ_LEN + 1), seed).astype(np.int32)
    return stream.reshape(n, batch, SEQ_LEN + 1)


def inputs(  # type: ignore[no-untyped-def]
    should_stop=lambda: False,
    mesh: MeshConfig | None = None,
    seconds: float = 1e9,
    execution: Execution = DEFAULTS,
    keep: Keep | None = None,
) -> TrainInputs:
    token_bytes = np.ones(VOCAB, np.int64)
    return TrainInputs(
        tokens=tokens(),
        eval_set=EvalSet.build(windows(8, 4, seed=11).reshape(32, -1), token_bytes),
        curve_eval_set=EvalSet.build(windows(2, 4, seed=11).reshape(8, -1), token_bytes),
        mesh=make_mesh(mesh or MeshConfig()),
        execution=execution,
        checkpoint_seconds=seconds,
        should_stop=should_stop,
        keep=keep,
    )


def train(folder: Path, spec: RunSpec, n_tokens: tuple[int, ...], **options: object) -> str:
    """Train a job into `folder` and return its status."""
    return train_job(Job(spec, n_tokens), RunFolder(folder), inputs(**options))  # type: ignore[arg-type]


def collected(root: Path, specs: list[RunSpec], ends: tuple[int, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points and curves of runs under `root`, whose files are all sound, without times."""
    cells, folder = [Cell(spec, n, "fit") for spec in specs for n in ends], SweepFolder(root)
    damaged: list[Damaged] = []
    points, curves = (
        collect_points(cells, read_points(folder, cells), "test"),
        collect_curves(folder, cells, damaged),
    )
    assert damaged == []
    return without_times(points), without_times(curves)
