"""Optimisers: what each group is given, by hand; states that shard as parameters do; no recompilation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harness.engine.mesh import MeshConfig, make_mesh
from harness.engine.optim import Optimiser, group_rates, matrix_axes, parameter_groups
from harness.engine.step import advance, engine_for
from harness.recipe.spec import GROUPS, NO_RATES, OPTIMISERS, OptimSpec
from tests.recipes import model, optim, run_spec, windows

D = 6


def parameters(seed: int = 0) -> dict:
    """One parameter of every shape that models have: fused, expert, stacked, plain, and not hidden."""
    shapes = {
        "embed": (9, D),
        "blocks": {
            0: {
                "qkv": {"kernel": (D, 3, D)},
                "up": {"kernel": (D, 4 * D)},
                "experts": {"kernel": (2, D, 4 * D)},
                "norm": {"gain": (D,)},
                "shift": {"gain": (2, 3)},
            }
        },
        "stacked": {"qkv": {"kernel": (4, D, 3, D)}, "down": {"kernel": (4, 4 * D, D)}},
        "head": {"kernel": (D, 9)},
        "unfused": {"q": {"kernel": (D, 1, D)}, "kv": {"kernel": (D, 2, 3)}},
    }
    rng = np.random.default_rng(seed)
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s), jnp.float32), shapes, is_leaf=is_shape)


@partial(jax.jit, static_argnums=0)
def update(optimiser: Optimiser, *arguments: object) -> tuple[dict, object]:
    return optimiser.update(*arguments)


def step(spec: OptimSpec, params: dict, factor: float = 1.0, n: int = 1) -> dict:
    """Parameters after n steps of random gradients."""
    optimiser = Optimiser(spec.compiled)
    state = optimiser.init(params)
    for index in range(n):
        params, state = update(optimiser, parameters(index + 1), state, params, factor, group_rates(spec))
    return params


def test_groups_by_place_and_name() -> None:
    groups = parameter_groups(parameters())
    assert (groups["embed"], groups["head"]["kernel"]) == ("embed", "head")
    block = groups["blocks"][0]
    assert {name: next(iter(leaf.values())) for name, leaf in block.items()} == {
        "qkv": "hidden", "up": "hidden", "experts": "hidden", "norm": "gain", "shift": "gain",
    }  # fmt: skip
    assert set(jax.tree.leaves(groups)) == set(GROUPS)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("hidden_weight_decay", [None, 0.5])
def test_states_are_sharded_as_parameters_are(name: str, hidden_weight_decay: float | None) -> None:
    """Every array is a scalar or stands, with its shape, where `map_params` finds a parameter."""
    optimiser = Optimiser(optim(name=name, hidden_weight_decay=hidden_weight_decay))
    params = parameters()
    state = optimiser.init(params)
    found = optax.tree.map_params(
        optimiser,
        lambda leaf, param: leaf if isinstance(leaf, optax.MaskedNode) else leaf.shape == param.shape,
        state,
        params,
        transform_non_params=lambda leaf: jnp.ndim(leaf) == 0,
        is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode),
    )
    assert all(jax.tree.leaves(found))
    assert len(jax.tree.leaves(found)) == len(jax.tree.leaves(state))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_rate_moves_its_group_alone_and_factors_scale(name: str) -> None:
    before = parameters()
    for group in GROUPS:
        spec = replace(optim(name=name), lr=replace(NO_RATES, **{group: 0.1}))
        once, half = step(spec, before), step(spec, before, 0.5)
        moved = jax.tree.map(lambda a, b: not np.allclose(a, b, atol=1e-6), once, before)
        assert jax.tree.leaves(moved) == [g == group for g in jax.tree.leaves(parameter_groups(before))]
        for whole, part, start in zip(*map(jax.tree.leaves, (once, half, before)), strict=True):
            np.testing.assert_allclose(part - start, (whole - start) / 2, atol=1e-6)


def matrices(tree: dict) -> list[np.ndarray]:
    """Every d_in × d_out matrix among the hidden parameters."""
    block, stacked = tree["blocks"][0], tree["stacked"]
    qkv = np.asarray(block["qkv"]["kernel"])
    found = [qkv[:, i] for i in range(3)]
    found += [np.asarray(block["up"]["kernel"])]
    found += list(np.asarray(block["experts"]["kernel"]))
    found += [layer[:, i] for layer in np.asarray(stacked["qkv"]["kernel"]) for i in range(3)]
    apart = (("q", 0), ("kv", 0), ("kv", 1))
    found += [np.asarray(tree["unfused"][name]["kernel"])[:, part] for name, part in apart]
    return found + list(np.asarray(stacked["down"]["kernel"]))


def test_muon_makes_each_matrix_orthogonal_by_itself() -> None:
    """Singular values within those that five Newton-Schulz steps give, times √max(1, d_out/d_in)."""
    before = parameters()
    after = step(optim(name="muon", hidden_lr=1.0, grad_clip=1e9), before)
    gradients = matrices(parameters(seed=1))
    for old, new, gradient in zip(matrices(before), matrices(after), gradients, strict=True):
        change = old - new
        scale = max(1.0, change.shape[1] / change.shape[0]) ** 0.5
        values = np.linalg.svd(change, compute_uv=False) / scale
        assert values.min() > 0.3
        assert values.max() < 1.3
        # The step lies along the polar factor of the gradient of this very matrix.
        left, _, right = np.linalg.svd(gradient, full_matrices=False)
        assert np.sum(change * (left @ right)) / np.linalg.norm(change) / np.sqrt(len(values)) > 0.95


def test_axes_of_a_matrix() -> None:
    path = (jax.tree_util.DictKey("blocks"), jax.tree_util.DictKey("qkv"), jax.tree_util.DictKey("kernel"))
    assert matrix_axes(path, (8, 3, 8)) == (0, 2)
    assert matrix_axes(path, (5, 8, 3, 8)) == (1, 3)
    assert matrix_axes(path, (8, 24)) == (0, 1)
    assert matrix_axes(path, (5, 8, 24)) == (1, 2)
    assert matrix_axes((), (2, 3, 8)) == (1, 2)


def test_muon_leaves_the_other_groups_to_adam() -> None:
    muon, adam = (step(optim(name=name), parameters(), n=3) for name in ("muon", "adamw"))
    groups = jax.tree.leaves(parameter_groups(muon))
    same = [np.allclose(a, b, atol=1e-6) for a, b in zip(*map(jax.tree.leaves, (muon, adam)), strict=True)]
    assert same == [group != "hidden" for group in groups]


def test_hidden_matrices_can_decay_at_a_strength_of_their_own() -> None:
    before, spec = parameters(), optim(weight_decay=0.1)
    plain, strong = step(spec, before), step(replace(spec, hidden_weight_decay=0.5), before)
    rates = group_rates(spec)
    rows = zip(*map(jax.tree.leaves, (plain, strong, before, parameter_groups(before))), strict=True)
    for left, right, start, group in rows:
        extra = rates[group] * 0.4 * start if group == "hidden" else 0.0
        np.testing.assert_allclose(left - right, np.broadcast_to(extra, left.shape), atol=1e-6)


def test_schedule_free_follows_its_recursion_and_scores_the_average() -> None:
    """Algorithm 1 of arXiv:2405.15682 by hand: z steps, x averages by squared rates, y lies between."""
    spec = optim(name="schedule_free", grad_clip=1e9, beta1=0.8)
    start = np.linspace(-1.0, 1.0, 8, dtype=np.float32).reshape(4, 2)
    params = {"embed": jnp.asarray(start)}
    optimiser = Optimiser(spec)
    state = optimiser.init(params)
    x, z, second, weights = start.astype(float), start.astype(float), 0.0, 0.0
    for index, factor in enumerate((0.5, 1.0, 1.0, 1.0), start=1):
        y = (1 - spec.beta1) * z + spec.beta1 * x
        np.testing.assert_allclose(params["embed"], y, rtol=1e-5)
        gradient = y - 0.3
        second = spec.beta2 * second + (1 - spec.beta2) * gradient**2
        z = z - factor * spec.lr.embed * gradient / (np.sqrt(second / (1 - spec.beta2**index)) + spec.eps)
        weights += factor**2
        x = x + factor**2 / weights * (z - x)
        grads = {"embed": params["embed"] - 0.3}
        params, state = optimiser.update(grads, state, params, jnp.float32(factor), group_rates(spec))
        np.testing.assert_allclose(optimiser.eval_params(params, state)["embed"], x, rtol=1e-4)
    assert Optimiser(optim()).eval_params(params, None) is params


@pytest.mark.parametrize("name", ["muon", "schedule_free"])
def test_rates_are_inputs_and_one_batch_is_learnt_by_heart(name: str) -> None:
    spec = run_spec(model=model(n_layers=1), optim=optim(name=name))
    engine = engine_for(spec, make_mesh(MeshConfig()))
    batch, factors = np.repeat(windows(1), 50, axis=0), np.ones(50, np.float32)
    last, programs = [], []
    for scale in (0.5, 1.0):
        state = engine.init(jax.random.key(0))
        rates = replace(spec.optim, lr=replace(spec.optim.lr, hidden=scale * spec.optim.lr.hidden))
        for _ in range(4):
            state, metrics = advance(engine, state, batch, factors, rates)
        last.append(metrics.loss[-1])
        # Other tests may have compiled this engine for other shapes.
        programs.append(engine.advance._cache_size())
    assert programs[0] == programs[1]
    assert last[0] != last[1]
    assert max(last) < 0.2


def test_muon_trains_on_a_mesh_as_on_one_device() -> None:
    spec, losses = run_spec(model=model(n_layers=1), optim=optim(name="muon")), []
    for config in (MeshConfig(), MeshConfig(1, 2)):
        engine = engine_for(spec, make_mesh(config))
        state = engine.init(jax.random.key(0))
        losses.append(advance(engine, state, windows(4), np.ones(4, np.float32), spec.optim)[1].loss)
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-5)
