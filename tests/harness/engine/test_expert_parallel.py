"""Experts split over eight virtual devices: the same curve, all-to-all, checkpoints that move."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from harness.engine.mesh import batch_sharding, make_mesh
from harness.engine.optim import group_rates
from harness.engine.step import DEFAULTS, QUICK_COMPILE, engine_for
from harness.evaluate.loss import window_losses
from harness.execution.execution import Execution, MeshConfig
from harness.recipe.spec import GROUPS
from harness.train.loop import Interrupted
from tests.recipes import RASTER, model, optim, run_spec, train, windows

# Room is short, so that tokens are dropped on every mesh alike.
MIXED = {"n_experts": 4, "n_active_experts": 2, "capacity_factor": 1.0}
SPEC = run_spec(model=model(n_heads=4, d_model=32, qk_norm=True, **MIXED), optim=optim(batch_size=16))
SCANNED = Execution(scan_layers=True)
STEPS = 6
MESHES = [
    (MeshConfig(expert=4, data=2), SCANNED),
    (MeshConfig(expert=2, fsdp=2, tensor=2), SCANNED),
    (MeshConfig(expert=2, stage=2, data=2), SCANNED),
    (MeshConfig(), Execution(scan_layers=True, remat="dots", micro_batch=8)),
]


class Trained(NamedTuple):
    """A curve, the losses of held-out windows after it, the state's arrays and the compiled program."""

    loss: np.ndarray
    grad_norm: np.ndarray
    held_out: np.ndarray
    params: Any
    program: str


@cache
def start(stacked: bool) -> Any:
    """The first state: with stacked blocks from a mesh, else from one device."""
    mesh, execution = MESHES[0] if stacked else (MeshConfig(), DEFAULTS)
    return jax.device_get(engine_for(SPEC, make_mesh(mesh), execution).init(jax.random.key(0)))


@cache
def trained(mesh: MeshConfig, execution: Execution) -> Trained:
    engine = engine_for(SPEC, make_mesh(mesh), execution)
    batches = windows(STEPS, 16).reshape(STEPS, -1, engine.micro_batch, 17)
    placed = jax.device_put(batches, batch_sharding(engine.mesh, 2, 4))
    rates = {group: np.float32(rate) for group, rate in group_rates(SPEC.optim).items()}
    assert set(rates) == set(GROUPS)
    state = jax.device_put(start(engine.forward.layout.stacked), engine.state_shardings)
    inputs = (state, placed, np.ones(STEPS, np.float32), rates)
    program = engine.advance.lower(*inputs).compile(QUICK_COMPILE)
    state, metrics = program(*inputs)
    held_out = window_losses(engine, state["params"], windows(1, 10, seed=5)[0])
    loss, norm = np.asarray(metrics["loss"]), np.asarray(metrics["grad_norm"])
    return Trained(loss, norm, held_out, state["params"], program.as_text())


def collectives(program: str) -> set[str]:
    names = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    return set(re.findall(rf" ({names})(?:-start)?\(", program))


@pytest.mark.parametrize(("mesh", "execution"), MESHES, ids=str)
def test_layouts_train_like_one_device(mesh: MeshConfig, execution: Execution) -> None:
    alone, split = trained(MeshConfig(), DEFAULTS), trained(mesh, execution)
    assert alone.loss[-1] < alone.loss[0] - 0.5
    for obtained, expected in zip(split[:3], alone[:3], strict=True):
        np.testing.assert_allclose(obtained, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, {"all-to-all", "all-reduce"}),
        (1, {"all-to-all", "all-reduce", "all-gather"}),
        (2, {"all-to-all", "all-reduce", "collective-permute"}),
        (3, set()),
    ],
)
def test_tokens_go_to_their_experts_by_all_to_all(index: int, expected: set[str]) -> None:
    assert collectives(trained(*MESHES[index]).program) == expected


@pytest.mark.parametrize(("index", "parts"), [(0, 4), (1, 8), (2, 4)])
def test_experts_are_split(index: int, parts: int) -> None:
    blocks = trained(*MESHES[index]).params["blocks"]["mlp"]
    for name in ("up", "down"):
        kernel = blocks[name]["kernel"]
        assert kernel.addressable_shards[0].data.size == kernel.size // parts


def test_a_run_goes_on_where_experts_are_split(tmp_path: Path) -> None:
    spec, end = run_spec(model=model(n_layers=1, **MIXED)), (4 * RASTER,)
    assert train(tmp_path / "alone", spec, end) == "done"
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        train(tmp_path / "moved", spec, end, should_stop=lambda: next(asked) >= 2)
    assert train(tmp_path / "moved", spec, end, mesh=MeshConfig(expert=2, stage=1)) == "done"
    points = [next((tmp_path / name / "points").glob("*")) for name in ("alone", "moved")]
    losses = [json.loads(path.read_text())["loss"] for path in points]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
