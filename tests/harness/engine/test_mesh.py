"""Meshes of eight virtual devices: the same curve, the expected collectives, sensible refusals."""

from __future__ import annotations

import functools
import json
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from harness.engine.mesh import batch_sharding, make_mesh
from harness.engine.optim import group_rates
from harness.engine.step import DEFAULTS, Engine, engine_for, micro_batches
from harness.evaluate.loss import window_losses
from harness.execution.execution import Execution, MeshConfig, check_divides, check_mesh
from harness.model.forward import Forward, Layout, stack
from harness.records.errors import InputError
from harness.train.loop import Interrupted
from tests.quick_compilation import OPTIONS as QUICK
from tests.recipes import ALL_OPTIONS, RASTER, model, optim, run_spec, train, windows

SPEC = run_spec(
    model=model(n_layers=4, n_heads=4, d_model=32, qk_norm=True, key_shift=True), optim=optim(batch_size=16)
)
EVERY_OPTION = replace(SPEC, model=model(n_layers=4, **ALL_OPTIONS | {"n_kv_heads": 1}))
SCANNED = Execution(scan_layers=True)  # quicker to compile
FACTORS = np.ones(6, np.float32)
BATCHES = windows(6, batch=16)
MESHES = [
    MeshConfig(data=8),
    MeshConfig(fsdp=8),
    MeshConfig(tensor=4),
    MeshConfig(stage=4, data=2),
    MeshConfig(data=2, fsdp=2, tensor=2),
    MeshConfig(fsdp=2, tensor=2, stage=2),
]


@cache
def first_state(stacked: bool) -> Any:
    """The first state, whose program takes as long to compile as that of training.

    Stacked blocks are made on a mesh and others on one device, and both lead to one curve.
    """
    mesh, execution = (MESHES[-1], SCANNED) if stacked else (MeshConfig(), DEFAULTS)
    return engine_for(SPEC, make_mesh(mesh), execution).init(jax.random.key(0))


class Trained(NamedTuple):
    """Losses, gradient norms, the losses of held-out windows after training, and the compiled program."""

    loss: np.ndarray
    grad_norm: np.ndarray
    held_out: np.ndarray
    program: str


@cache
def trained(mesh: MeshConfig, execution: Execution = SCANNED) -> Trained:
    engine = engine_for(SPEC, make_mesh(mesh), execution)
    first = jax.device_get(first_state(engine.forward.layout.stacked))
    placed = jax.device_put(micro_batches(engine, BATCHES), batch_sharding(engine.mesh, 2, 4))
    rates = {group: np.float32(rate) for group, rate in group_rates(SPEC.optim).items()}
    inputs = (jax.device_put(first, engine.state_shardings), placed, FACTORS, rates)
    program = engine.advance.lower(*inputs).compile()
    state, metrics = program(*inputs)
    held_out = window_losses(engine, state["params"], windows(1, 10, seed=5)[0])
    return Trained(*jax.device_get((metrics["loss"], metrics["grad_norm"])), held_out, program.as_text())


@pytest.fixture(scope="module")
def alone() -> Trained:
    return trained(MeshConfig(), DEFAULTS)


@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_meshes_train_like_one_device(mesh: MeshConfig, alone: Trained) -> None:
    for obtained, expected in zip(trained(mesh)[:3], alone[:3], strict=True):
        np.testing.assert_allclose(obtained, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "execution",
    [
        SCANNED,
        Execution(remat="full"),
        Execution(remat="dots", scan_layers=True),
        Execution(micro_batch=16, scan_layers=True),
    ],
    ids=str,
)
def test_execution_leaves_the_curve_as_it_is(execution: Execution, alone: Trained) -> None:
    for obtained, expected in zip(trained(MeshConfig(), execution)[:3], alone[:3], strict=True):
        np.testing.assert_allclose(obtained, expected, rtol=1e-5)


def test_every_option_of_the_shape_trains_alike_on_a_mesh() -> None:
    """The mesh splits heads into more parts than there are key heads."""
    rates = {group: np.float32(rate) for group, rate in group_rates(EVERY_OPTION.optim).items()}
    state, curves = None, []
    for mesh in (MeshConfig(), MeshConfig(tensor=2, stage=2)):
        engine = engine_for(EVERY_OPTION, make_mesh(mesh), SCANNED)
        state = engine.init(jax.random.key(0)) if state is None else state
        placed = jax.device_put(micro_batches(engine, BATCHES), batch_sharding(engine.mesh, 2, 4))
        inputs = (jax.device_put(jax.device_get(state), engine.state_shardings), placed, FACTORS, rates)
        _, metrics = engine.advance.lower(*inputs).compile(QUICK)(*inputs)
        curves.append((metrics["loss"], metrics["grad_norm"]))
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)


def test_layers_left_over_by_a_period_of_windows_come_last() -> None:
    """Five layers of which every second is full, scanned in pairs."""
    mesh, shape, batch = make_mesh(MeshConfig()), model(n_layers=5, window=3, full_every=2), windows(1)[0]
    apart, scanned = (Forward(shape, Layout(stacked=stacked), mesh) for stacked in (False, True))
    params = apart.init(jax.random.key(0))
    expected = jax.jit(apart.losses)(params, batch)
    np.testing.assert_allclose(jax.jit(scanned.losses)(stack(params), batch), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        (MeshConfig(data=8), "all-reduce"),
        (MeshConfig(fsdp=8), "all-reduce all-gather"),
        (MeshConfig(tensor=4), "all-reduce"),
        (MeshConfig(stage=4, data=2), "collective-permute"),
        (MeshConfig(), ""),
    ],
    ids=str,
)
def test_collectives_are_those_of_the_parallelism(mesh: MeshConfig, expected: str) -> None:
    names = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    found = set(re.findall(rf" ({names})(?:-start)?\(", trained(mesh).program))
    assert set(expected.split()) <= found
    assert bool(found) == bool(expected), "one device has nobody to talk to"
    if mesh == MeshConfig(data=8):
        assert found == {"all-reduce"}


def at(tree: Any, place: tuple[str | int, ...]) -> Any:
    """The array at a place of a tree."""
    return functools.reduce(lambda branch, name: branch[name], place, tree)


@pytest.mark.parametrize(
    ("mesh", "place", "parts"),
    [
        (MeshConfig(fsdp=8), ("blocks", 0, "mlp", "up", "kernel"), 8),
        (MeshConfig(tensor=4), ("blocks", 0, "attention", "qkv", "kernel"), 4),
        (MeshConfig(fsdp=2, tensor=4), ("embed",), 8),
    ],
    ids=str,
)
def test_state_is_split(mesh: MeshConfig, place: tuple[str | int, ...], parts: int) -> None:
    """A model of one layer, whose programs compile sooner."""
    state = split_state(mesh)
    for tree in (state["params"], state["optimiser"][1].mu):
        leaf = at(tree, place)
        assert leaf.addressable_shards[0].data.size == leaf.size // parts
    np.testing.assert_array_equal(at(state["params"], place), at(split_state(MeshConfig())["params"], place))


@cache
def split_state(mesh: MeshConfig) -> Any:
    one = replace(SPEC, model=replace(SPEC.model, n_layers=1))
    return engine_for(one, make_mesh(mesh)).init(jax.random.key(0))


def test_state_is_split_over_stages() -> None:
    state = first_state(True)
    for tree in (state["params"], state["optimiser"][1].mu):
        leaf = at(tree, ("blocks", "mlp", "down", "kernel"))
        assert leaf.addressable_shards[0].data.size == leaf.size // 8


def test_a_pipeline_gets_micro_batches_to_fill_it() -> None:
    engine = engine_for(SPEC, make_mesh(MeshConfig(stage=2, data=2)))
    assert engine.micro_batch == 2  # eight micro-batches of a sequence for each part of the batch


def test_every_layout_starts_with_the_same_parameters() -> None:
    plain, stacked = (first_state(is_stacked)["params"] for is_stacked in (False, True))
    assert jax.tree.structure(stack(plain)) == jax.tree.structure(stacked)
    jax.tree.map(np.testing.assert_array_equal, stack(plain), stacked)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (
            MeshConfig(tensor=8),
            r"rung d16 has 4 heads, .*mesh.tensor=8 does not.* mesh.tensor=4, another model.head_dim",
        ),
        (MeshConfig(stage=3), r"has 4 layers.*use mesh.stage=2, another model.n_layers"),
    ],
)
def test_a_model_that_does_not_fit_the_mesh_is_refused(mesh: MeshConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_mesh([SPEC], mesh, Execution())


def test_windows_repeat_from_stage_to_stage() -> None:
    spec = replace(SPEC, model=replace(SPEC.model, n_layers=6, window=4, full_every=2))
    check_mesh([spec], MeshConfig(stage=3), Execution())
    with pytest.raises(InputError, match=r"3 layers in each of mesh.stage=2 .* use model.full_every=1 or"):
        check_mesh([spec], MeshConfig(stage=2), Execution())


def test_batches_and_micro_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"batch_size=12 is not divided by the 8 parts.*multiple of 8"):
        check_divides(12, MeshConfig(data=2, fsdp=2, expert=2))
    with pytest.raises(InputError, match=r"micro_batch=3 was given.*use one of \[2, 4, 8, 16\]"):
        check_mesh([SPEC], MeshConfig(data=2), Execution(micro_batch=3))
    check_mesh([SPEC], MeshConfig(data=2), Execution(micro_batch=4))


def test_a_mesh_larger_than_the_machine_is_refused() -> None:
    with pytest.raises(InputError, match=r"mesh.data=8 × mesh.fsdp=8 needs 64 devices, this machine shows 8"):
        make_mesh(MeshConfig(8, 8))


def test_engines_of_layouts_are_apart() -> None:
    mesh = make_mesh(MeshConfig())
    assert engine_for(SPEC, mesh) is engine_for(replace(SPEC, seed=9), mesh)
    assert engine_for(SPEC, mesh) is not engine_for(SPEC, mesh, Execution(remat="full"))
    assert isinstance(engine_for(SPEC, mesh), Engine)


ENDS = (4 * RASTER, 6 * RASTER)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped on one device."""
    folder, asked = tmp_path_factory.mktemp("interrupted"), iter(range(100))
    with pytest.raises(Interrupted):
        train(folder, run_spec(), ENDS, should_stop=lambda: next(asked) >= 2)
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of the run if nobody stops it."""
    folder = tmp_path_factory.mktemp("expected")
    assert train(folder, run_spec(), ENDS) == "done"
    return end_losses(folder)


def end_losses(run: Path) -> list[float]:
    return [json.loads(path.read_text())["loss"] for path in sorted((run / "points").glob("*"))]


@pytest.mark.parametrize(
    "second", [(MeshConfig(), SCANNED), (MeshConfig(stage=2, data=2), DEFAULTS)], ids=str
)
def test_a_run_goes_on_where_layers_are_laid_out_otherwise(
    tmp_path: Path, interrupted: Path, expected: list[float], second: tuple[MeshConfig, Execution]
) -> None:
    """Checkpoints have one tree, whether blocks were stacked, in stages, or neither."""
    moved = tmp_path / "moved"
    shutil.copytree(interrupted, moved)
    assert end_losses(moved) == []
    assert train(moved, run_spec(), ENDS, mesh=second[0], execution=second[1]) == "done"
    assert len(expected) == 2
    np.testing.assert_allclose(end_losses(moved), expected, rtol=1e-5)
