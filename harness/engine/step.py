"""The jitted training step: micro-batched gradients, a rate per parameter group, one scan.

Learning rates, schedule, seed and token count are inputs of the compiled program; only shapes and the
optimiser's decay constants are compiled in, so that runs of one shape share one program.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from harness.engine import distributed, loss_scale
from harness.engine import mesh as meshes
from harness.engine.optim import Optimiser, group_rates
from harness.execution.execution import Execution, attention_on
from harness.execution.micro_batch import eval_batch_size, eval_call_batches, micro_batch_size
from harness.model import moe, partition
from harness.model.forward import Forward, Layout, everywhere, stack, unstack
from harness.recipe.spec import ModelSpec, OptimSpec, RunSpec

State = dict[str, Any]

PLAIN, DEFAULTS = Layout(), Execution()
# For a program that runs once: half the time to compile, the same numbers.
QUICK_COMPILE = {"xla_backend_optimization_level": 1}


@dataclass(frozen=True)
class Metrics:
    """Per-step values of one logging interval, on the host."""

    loss: np.ndarray
    grad_norm: np.ndarray


def platform_of(mesh: Mesh) -> str:
    """`cpu`, `gpu` or `tpu`."""
    return str(mesh.devices.flat[0].platform)


def quickly(platform: str) -> dict[str, int] | None:
    """Compiler options for a program that runs once."""
    return QUICK_COMPILE if platform == "cpu" else None


class Engine:
    """Compiled programs of one shape on one mesh: `init`, `advance`, `eval_params`, `window_losses`."""

    def __init__(
        self, model: ModelSpec, optim: OptimSpec, micro_batch: int, mesh: Mesh, layout: Layout = PLAIN
    ):
        self.mesh = mesh
        self.micro_batch = micro_batch
        self.model = model
        platform, shards = platform_of(mesh), meshes.n_batch_shards(mesh)
        self.eval_batch = eval_batch_size(model, shards, platform)
        self.eval_call = eval_call_batches(model.seq_len, self.eval_batch)
        self.forward = Forward(model, layout, mesh)
        self._optimiser = Optimiser(optim)
        abstract = jax.eval_shape(self._init, jax.random.key(0))
        self.state_shardings = self._shardings(abstract, layout.stacked)
        self.abstract_state = _described(abstract, self.state_shardings)
        self._set_checkpoints()
        tokens = meshes.batch_sharding(mesh, 2, 4)
        plain = meshes.replicated(mesh)
        self.init = jax.jit(
            self._init,
            out_shardings=self.state_shardings,
            compiler_options=quickly(platform),
        )
        self.advance = jax.jit(
            self._advance,
            in_shardings=(self.state_shardings, tokens, plain, plain),
            out_shardings=(self.state_shardings, plain),
            donate_argnums=0,
        )
        self.eval_params = jax.jit(
            lambda state: self._optimiser.eval_params(state["params"], state["optimiser"]),
            out_shardings=self.state_shardings["params"],
        )
        self.window_losses = jax.jit(
            self._window_losses,
            in_shardings=(self.state_shardings["params"], meshes.batch_sharding(mesh, 1, 3)),
            out_shardings=plain,
        )

    def packed(self, n_lanes: int) -> Any:
        """`advance` for so many states of this shape side by side, as one program.

        It takes a list of states, windows [lanes, steps, n_micro, batch, seq+1], factors [lanes, steps] and
        rates [lanes], and gives the list of new states and metrics [lanes, steps].
        """

        def advance(states: list[State], *inputs: Any) -> tuple[list[State], dict[str, Array]]:
            together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
            together, metrics = jax.vmap(self._advance)(together, *inputs)
            apart = [jax.tree.map(lambda leaf, lane=lane: leaf[lane], together) for lane in range(n_lanes)]
            return apart, metrics

        states, plain = [self.state_shardings] * n_lanes, meshes.replicated(self.mesh)
        return jax.jit(
            advance,
            in_shardings=(states, meshes.batch_sharding(self.mesh, 3, 5), plain, plain),
            out_shardings=(states, plain),
            donate_argnums=0,
        )

    def _set_checkpoints(self) -> None:
        """Programs that give a state the tree of a checkpoint, which has a subtree for every block, and back.

        So a run goes on wherever its checkpoint was written, also where blocks are stacked or not.
        """
        self.abstract_checkpoint = self.abstract_state
        self.to_checkpoint = self.from_checkpoint = lambda state: state
        if self.forward.layout.stacked:
            apart = partial(everywhere, partial(unstack, n_layers=self.model.n_layers))
            abstract = jax.eval_shape(apart, self.abstract_state)
            shardings = self._shardings(abstract, stacked=False)
            self.abstract_checkpoint = _described(abstract, shardings)
            self.to_checkpoint = jax.jit(apart, out_shardings=shardings)
            self.from_checkpoint = jax.jit(partial(everywhere, stack), out_shardings=self.state_shardings)

    def _shardings(self, abstract: State, stacked: bool) -> State:
        """Every array of the optimiser lives where its parameter lives; its counters are everywhere."""
        plain = meshes.replicated(self.mesh)
        params = meshes.tree_shardings(self.mesh, abstract["params"], self.forward.axes(stacked))
        known = dict(jax.tree_util.tree_leaves_with_path(params))

        def where(path: tuple[Any, ...], _: Any) -> Any:
            return next((known[path[i:]] for i in range(len(path)) if path[i:] in known), plain)

        return jax.tree_util.tree_map_with_path(where, abstract)

    def _init(self, key: Array) -> State:
        params = self.forward.init(key)
        state = {"params": params, "optimiser": self._optimiser.init(params)}
        return state | ({"loss_scale": loss_scale.initial()} if self.model.precision == "fp16" else {})

    def _gradients(
        self, params: Any, windows: Int[Array, "n_micro batch seq_plus_1"], factor: Array | float = 1.0
    ) -> tuple[Array, Any]:
        """Mean loss times `factor` and the gradient of what is trained, summed over micro-batches in order.

        What is trained is the loss and, with experts, the penalty on their routing, which no metric shows.
        """
        length = windows.shape[2] - 1
        scale = factor / (windows.shape[0] * windows.shape[1] * length)

        def trained(params: Any, windows: Array) -> tuple[Array, Array]:
            losses, routing = score(params, windows)
            loss = losses.sum() * scale
            if routing is None:
                return loss, loss
            return loss + moe.penalty(self.model, routing).sum() * (scale * length), loss

        def value_and_grad(params: Any, windows: Array) -> tuple[Array, Any]:
            (_, loss), grads = jax.value_and_grad(trained, has_aux=True)(params, windows)
            return loss, grads

        if self.forward.layout.n_stages > 1:
            score = self.forward.losses_of_many
            return value_and_grad(params, windows)
        score = self.forward.losses_and_routing
        if windows.shape[0] == 1:
            return value_and_grad(params, windows[0])

        def add(total: Any, micro: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, value_and_grad(params, micro)), None

        zero = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), params))
        return jax.lax.scan(add, zero, windows)[0]

    def _advance(
        self,
        state: State,
        windows: Int[Array, "steps n_micro batch seq_plus_1"],
        factors: Float[Array, " steps"],
        rates: dict[str, Array],
    ) -> tuple[State, dict[str, Array]]:
        """One logging interval: a step for each leading entry of `windows`."""

        def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, dict[str, Array]]:
            if "loss_scale" in state:
                return scaled_step(state, inputs)
            return apply(state, inputs[1], *self._gradients(state["params"], inputs[0]))

        def scaled_step(state: State, inputs: tuple[Array, Array]) -> tuple[State, dict[str, Array]]:
            before = state["loss_scale"]
            outcome = self._gradients(state["params"], inputs[0], before["scale"])
            loss, grads = jax.tree.map(lambda leaf: leaf / before["scale"], outcome)
            finite = loss_scale.all_finite(grads)
            after, metrics = apply(state, inputs[1], loss, grads)
            kept = loss_scale.keep_unless(finite, after, {name: state[name] for name in after})
            return kept | {"loss_scale": loss_scale.adjust(before, finite)}, metrics

        def apply(state: State, factor: Array, loss: Array, grads: Any) -> tuple[State, dict[str, Array]]:
            norm = optax.tree.norm(grads)
            params, optimiser = self._optimiser.update(
                grads, state["optimiser"], state["params"], factor, rates
            )
            return {"params": params, "optimiser": optimiser}, {"loss": loss, "grad_norm": norm}

        return jax.lax.scan(step, state, (windows, factors))

    def _window_losses(
        self, params: Any, windows: Int[Array, "n_batches batch seq_plus_1"]
    ) -> Float[Array, "n_batches batch"]:
        """Mean loss of each window."""
        if self.forward.layout.n_stages > 1:
            return self.forward.losses_of_many(params, windows)[0].mean(axis=2)
        return jax.lax.map(lambda batch: self.forward.losses(params, batch).mean(axis=1), windows)


def _described(abstract: State, shardings: State) -> State:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )


def layout_of(model: ModelSpec, mesh: Mesh, execution: Execution) -> Layout:
    """How blocks are run there: accelerators scan them, for one block's compile time instead of all."""
    stages = mesh.shape[partition.STAGE]
    attention = attention_on(model, execution, platform_of(mesh), stages)
    scanned = execution.scan_layers
    if scanned is None:
        scanned = platform_of(mesh) != "cpu"
    return Layout(stages, scanned or stages > 1, execution.remat, attention)


@lru_cache(maxsize=16)
def _engine(model: ModelSpec, optim: OptimSpec, micro_batch: int, mesh: Mesh, layout: Layout) -> Engine:
    return Engine(model, optim, micro_batch, mesh, layout)


def engine_for(spec: RunSpec, mesh: Mesh, execution: Execution = DEFAULTS) -> Engine:
    """The engine of a recipe's shape; recipes that differ in rates, seed or tokens share it."""
    layout = layout_of(spec.model, mesh, execution)
    shards = meshes.n_batch_shards(mesh)
    micro_batch = execution.micro_batch or micro_batch_size(spec, shards, platform_of(mesh), layout.n_stages)
    return _engine(spec.model, spec.optim.compiled, micro_batch, mesh, layout)


def micro_batches(engine: Engine, windows: np.ndarray) -> np.ndarray:
    """Windows [..., batch, seq+1] as [..., n_micro, micro_batch, seq+1]."""
    *before, batch, width = windows.shape
    return windows.reshape(*before, batch // engine.micro_batch, engine.micro_batch, width)


def advance(
    engine: Engine, state: State, windows: np.ndarray, factors: np.ndarray, optim: OptimSpec
) -> tuple[State, Metrics]:
    """Run one logging interval from host arrays: windows [steps, batch, seq+1], factors [steps]."""
    placed = distributed.place(micro_batches(engine, windows), meshes.batch_sharding(engine.mesh, 2, 4))
    rates = {group: np.float32(rate) for group, rate in group_rates(optim).items()}
    state, metrics = engine.advance(state, placed, factors, rates)
    host = jax.device_get(metrics)
    return state, Metrics(host["loss"], host["grad_norm"])
