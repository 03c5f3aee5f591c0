"""Mixture of experts: the layer against a plain loop, causality, its penalty, its counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from harness.config.settings import load
from harness.engine.mesh import make_mesh
from harness.engine.optim import matrix_axes, parameter_groups
from harness.engine.step import Engine
from harness.evaluate.loss import window_losses
from harness.execution.execution import Execution, MeshConfig, check_mesh
from harness.execution.memory import device_memory, local_params
from harness.grid.rules import Rung, model_spec
from harness.model import moe
from harness.model.decoder import Decoder
from harness.model.moe import Choices, Moe, Router
from harness.recipe import counting
from harness.recipe.spec import GROUPS, ModelSpec
from harness.records.errors import InputError
from tests.agreement import assert_agree
from tests.recipes import SEQ_LEN, VOCAB, model, optim, run_spec, windows

BATCH = 3


# In one program: step by step, each operation would be compiled for itself.
choose = jax.jit(moe.choose, static_argnums=0)


def spec(**changes: object) -> ModelSpec:
    return model(**({"n_experts": 4, "n_active_experts": 2} | changes))


def chosen_by_hand(spec: ModelSpec, probabilities: np.ndarray) -> np.ndarray:
    """Which experts each token [batch, seq] is sent to: token after token, as long as an expert has room."""
    capacity, sent = counting.expert_capacity(spec, SEQ_LEN), np.zeros(probabilities.shape)
    for sequence, of_sequence in zip(sent, probabilities, strict=True):
        full: Counter[int] = Counter()
        for token, of_token in zip(sequence, of_sequence, strict=True):
            for expert in np.argsort(-of_token)[: spec.n_active_experts].tolist():
                token[expert] = full[expert] < capacity
                full[expert] += 1
    return sent


def by_hand(spec: ModelSpec, sent: np.ndarray, params: Any, x: jax.Array) -> jax.Array:
    """Every expert's MLP of every token [batch, seq, d], weighted by the gates of those it is sent to."""
    p = jax.nn.softmax(x @ params["router"]["kernel"])
    best = jnp.sort(p, axis=-1)[..., -spec.n_active_experts :].sum(-1, keepdims=True)
    gates = p / best if spec.n_active_experts > 1 else p
    out = jnp.zeros_like(x)
    for e in range(spec.n_experts):
        up = x @ params["up"]["kernel"][e]
        hidden = jax.nn.silu(x @ params["gate"]["kernel"][e]) * up if "gate" in params else jax.nn.gelu(up)
        out += (sent * gates)[..., e, None] * (hidden @ params["down"]["kernel"][e])
    return out


@pytest.mark.parametrize(
    "changes",
    [
        {"capacity_factor": 4.0},
        {"capacity_factor": 4.0, "n_active_experts": 1, "mlp": "swiglu"},
        {"capacity_factor": 0.75},
        {"capacity_factor": 0.5, "n_experts": 8, "n_active_experts": 3},
    ],
    ids=str,
)
def test_the_layer_is_a_loop_over_experts(changes: dict[str, object]) -> None:
    """In value and in every gradient, also where experts run out of room."""
    recipe = spec(**changes)
    graph, state = nnx.split(Moe(recipe, nnx.Rngs(0), 1.0))
    params = nnx.to_pure_dict(state)
    x = jax.random.normal(jax.random.key(1), (BATCH, SEQ_LEN, recipe.d_model))
    wanted = jax.random.normal(jax.random.key(2), x.shape)

    sent = chosen_by_hand(recipe, np.asarray(jax.nn.softmax(x @ params["router"]["kernel"])))

    def ours(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        nnx.replace_by_pure_dict(state, params)
        out, routing = nnx.merge(graph, state)(x.reshape(-1, recipe.d_model), BATCH)
        out = out.reshape(x.shape)
        return (out * wanted).sum(), (out, routing.dropped)

    def plain(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        dropped = 1 - sent.sum((1, 2)) / (SEQ_LEN * recipe.n_active_experts)
        out = by_hand(recipe, sent, params, x)
        return (out * wanted).sum(), (out, dropped)

    outcomes = [jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True))(params, x) for f in (ours, plain)]
    _, (_, dropped) = outcomes[0]
    assert (float(dropped.max()) > 0) == (recipe.capacity_factor < 1)
    assert_agree(*outcomes)


@pytest.mark.parametrize("capacity_factor", [0.5, 1.25])
def test_a_token_does_not_see_its_future_also_where_room_is_short(capacity_factor: float) -> None:
    graph, state = nnx.split(Decoder(spec(capacity_factor=capacity_factor), nnx.Rngs(0)))
    decoder = jax.jit(lambda tokens: nnx.merge(graph, state)(tokens))
    tokens = jnp.asarray(windows(1)[0, :, :-1])
    changed = tokens.at[:, 9].set((tokens[:, 9] + 1) % VOCAB)
    before, after = decoder(tokens), decoder(changed)
    np.testing.assert_array_equal(before[:, :9], after[:, :9])
    assert float(jnp.abs(before[:, 9:] - after[:, 9:]).max()) > 1e-3


def test_places_and_choices_are_inverse() -> None:
    recipe = spec(capacity_factor=0.5)
    choices, routing = choose(recipe, jax.random.normal(jax.random.key(0), (1, SEQ_LEN, 4)))
    slot, pair = np.asarray(choices.slot[0]), np.asarray(choices.pair[0])
    assert (len(slot), len(pair)) == (2 * SEQ_LEN, 4 * 4)  # places of an expert: half of 2·16/4
    taken = [s for s in slot if s < len(pair)]
    assert len(taken) == len(set(taken)) == np.sum(pair < len(slot))
    assert all(pair[s] == choice for choice, s in enumerate(slot) if s < len(pair))
    assert float(routing.dropped[0]) == pytest.approx(1 - len(taken) / len(slot))


@pytest.mark.parametrize("n_active", [1, 2])
def test_balance_is_one_where_experts_are_used_alike_and_larger_where_not(n_active: int) -> None:
    recipe = spec(n_active_experts=n_active)

    def routing(*favourites: jax.Array) -> moe.Routing:
        logits = sum(50.0 * jax.nn.one_hot(favourite, 4) for favourite in favourites)
        return choose(recipe, logits[None])[1]  # type: ignore[index]

    turns, same = jnp.arange(SEQ_LEN) % 4, jnp.zeros(SEQ_LEN, int)
    even = routing(*(turns + i for i in range(n_active)) if n_active == 1 else (turns, (turns + 1) % 4))
    few = routing(*(same + i for i in range(n_active)))
    assert float(even.balance[0]) == pytest.approx(1)
    assert float(few.balance[0]) == pytest.approx(4 / n_active)
    assert float(even.dropped[0]) == 0 < float(few.dropped[0])
    level = choose(recipe, jnp.zeros((1, SEQ_LEN, 4)))[1]
    assert float(level.balance[0]) == pytest.approx(1)
    assert float(level.z[0]) == pytest.approx(np.log(4) ** 2)


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_the_penalty_is_trained_and_not_reported(micro_batch: int) -> None:
    recipe = spec(n_layers=1, balance_weight=0.3, router_z_weight=0.2)
    engine = Engine(recipe, optim(), micro_batch, make_mesh(MeshConfig()))
    params, batch = engine.init(jax.random.key(0))["params"], windows(1)[0]

    def trained(params: Any) -> jax.Array:
        losses, routing = engine.forward.losses_and_routing(params, jnp.asarray(batch))
        assert routing is not None
        return losses.mean() + 0.3 * routing.balance.mean() + 0.2 * routing.z.mean()

    loss, grads = jax.jit(engine._gradients)(params, batch.reshape(-1, micro_batch, SEQ_LEN + 1))
    np.testing.assert_allclose(loss, window_losses(engine, params, batch).mean(), rtol=1e-6)
    expected = jax.jit(jax.grad(trained))(params)
    assert_agree(grads, expected)


def test_the_router_is_whole_where_activations_are_half() -> None:
    recipe = spec(precision="bf16")
    x = jax.random.normal(jax.random.key(0), (1, SEQ_LEN, recipe.d_model)).astype(jnp.bfloat16)
    logits = Router(recipe, nnx.Rngs(0))(x)
    choices: Choices = choose(recipe, logits)[0]
    assert (logits.dtype, choices.gates.dtype) == (jnp.float32, jnp.float32)
    out, routing = nnx.eval_shape(lambda: Moe(recipe, nnx.Rngs(0), 1.0)(x[0], 1))
    assert (out.dtype, routing.balance.dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_step_is_lowered_for_every_platform(precision: str) -> None:
    engine = Engine(spec(n_layers=1, precision=precision), optim(), 4, make_mesh(MeshConfig()))
    rates = dict.fromkeys(GROUPS, jax.ShapeDtypeStruct((), np.float32))
    batches = jax.ShapeDtypeStruct((2, 1, 4, SEQ_LEN + 1), np.int32)
    export = jax.export.export(jax.jit(engine._advance), platforms=["cpu", "cuda", "tpu"])
    lowered = export(engine.abstract_state, batches, jax.ShapeDtypeStruct((2,), np.float32), rates)
    assert lowered.platforms == ("cpu", "cuda", "tpu")


# --- counts --------------------------------------------------------------------------------------------

SHAPES = [spec(), spec(mlp="swiglu", n_experts=8, n_active_experts=3, qk_norm=True, capacity_factor=2.0)]


@pytest.mark.parametrize("recipe", SHAPES)
def test_parameters_are_all_there_are_and_those_that_a_token_meets(recipe: ModelSpec) -> None:
    state = nnx.to_flat_state(nnx.state(nnx.eval_shape(lambda: Decoder(recipe, nnx.Rngs(0)))))
    sizes = {path: leaf.size for path, leaf in state}
    outside = sum(n for path, n in sizes.items() if path[0] in ("embed", "head"))
    assert counting.n_params(recipe) == sum(sizes.values())
    assert counting.n_params_body(recipe) == sum(sizes.values()) - outside
    met = {
        path: leaf.size * (recipe.n_active_experts if leaf.ndim == 3 and "mlp" in path else 1)
        // (recipe.n_experts if leaf.ndim == 3 and "mlp" in path else 1)
        for path, leaf in state
        if path[-1] == "kernel"
    }  # fmt: skip
    assert counting.n_params_matmul(recipe) == sum(met.values())


@pytest.mark.parametrize("recipe", SHAPES)
def test_flops_agree_with_the_compiler_but_for_places_beyond_those_needed(recipe: ModelSpec) -> None:
    """The compiler counts every place of every expert, filled or not, and elementwise work."""
    graph, state = nnx.split(Decoder(recipe, nnx.Rngs(0), textbook=True))
    tokens = jnp.zeros((2, recipe.seq_len), jnp.int32)
    compiled = jax.jit(lambda s, t: nnx.merge(graph, s)(t)).lower(state, tokens).compile()
    places = recipe.n_experts * counting.expert_capacity(recipe, recipe.seq_len)
    beyond = places / recipe.seq_len - recipe.n_active_experts
    padding = 2 * recipe.n_layers * beyond * counting.mlp_entries(recipe)
    counted = (counting.forward_flops_token(recipe) + padding) * tokens.size
    assert counted <= compiled.cost_analysis()["flops"] <= 1.35 * counted


def test_capacity_is_an_even_share_times_the_factor() -> None:
    assert counting.expert_capacity(spec(capacity_factor=1.25), 16) == 10
    assert counting.expert_capacity(spec(capacity_factor=1.1), 80) == 44
    assert counting.expert_capacity(spec(capacity_factor=1.3), 16) == 11
    assert counting.expert_capacity(spec(capacity_factor=9.0), 16) == 16


WIDE = model(
    d_model=1024, n_layers=8, n_heads=16, d_ff=4096, vocab_size=32768, seq_len=1024, precision="bf16",
    n_experts=8, n_active_experts=2,
)  # fmt: skip


def test_every_device_holds_its_share_of_the_experts() -> None:
    experts = 8 * 8 * counting.mlp_entries(WIDE)
    rest = counting.n_params(WIDE) - experts
    assert local_params(WIDE, MeshConfig()) == counting.n_params(WIDE)
    assert local_params(WIDE, MeshConfig(expert=4, data=2)) == experts / 4 + rest
    assert local_params(WIDE, MeshConfig(expert=2, fsdp=4)) == (experts / 2 + rest) / 4


def test_empty_places_take_memory_too() -> None:
    """Activations of experts grow with their room; a dense model of the same active width keeps fewer."""
    kept = [
        device_memory(recipe, MeshConfig(), "dots", 32, 1).activations
        for recipe in (replace(WIDE, capacity_factor=2.5), WIDE, replace(WIDE, n_experts=1))
    ]
    assert kept[0] > kept[1] > kept[2]


# --- settings ------------------------------------------------------------------------------------------


def test_router_and_experts_are_hidden_matrices() -> None:
    params = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: Moe(spec(), nnx.Rngs(0), 1.0))))
    tree = {"blocks": {0: {"mlp": params}}}
    assert set(jax.tree.leaves(parameter_groups(tree))) == {"hidden"}
    axes = jax.tree_util.tree_map_with_path(lambda path, leaf: matrix_axes(path, leaf.shape), tree)
    found = axes["blocks"][0]["mlp"]
    assert tuple(found["up"]["kernel"]) == (1, 2)
    assert tuple(found["router"]["kernel"]) == (0, 1)


def test_settings_of_experts_reach_the_recipe_of_a_mixture_alone() -> None:
    dense, mixed = load(["+grid=smoke"]).model, load(["+grid=smoke", "model=moe"]).model
    plain = model_spec(Rung(16, 3), dense, 512)
    assert model_spec(Rung(16, 3), replace(dense, balance_weight=0.5, capacity_factor=2.0), 512) == plain
    recipe = model_spec(Rung(16, 3), mixed, 512)
    assert (recipe.n_experts, recipe.n_active_experts) == (8, 2)
    router = 3 * 16 * 8
    assert counting.n_params_matmul(recipe) == counting.n_params_matmul(plain) + router


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.n_active_experts=2"], "model.n_active_experts=2 of model.n_experts=1 .*model=moe"),
        (
            ["model=moe", "model.n_experts=0"],
            "model.n_experts=0 is out of range: at least 1 and below 16,777,216 was",
        ),
        (["model=moe", "model.capacity_factor=0"], "model.capacity_factor=0.* above 0"),
        (["model=moe", "model.balance_weight=-1"], "model.balance_weight=-1.* at least 0"),
        (["model=mo"], "model=mo is not there; model is one of decoder, moe"),
    ],
)
def test_wrong_settings_are_one_sentence(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(["+grid=smoke", *overrides])


@pytest.mark.parametrize(
    ("recipe", "parts", "message"),
    [
        (model(), 2, "mesh.expert=2 splits experts and rung d16 has none; use mesh.expert=1, or model=moe"),
        (spec(n_experts=6), 4, "has 6 experts, which mesh.expert=4 does not divide; use mesh.expert=3"),
    ],
)
def test_a_mesh_that_does_not_split_the_experts_is_refused(
    recipe: ModelSpec, parts: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_mesh([run_spec(model=recipe)], MeshConfig(expert=parts), Execution())
