"""The jitted training step: micro-batched gradients, a rate per parameter group, one scan.

Learning rates, schedule, seed and token count are inputs of the compiled program; only shapes and the
optimiser's decay constants are compiled in, so that runs of one shape share one program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from harness.model.decoder import Decoder
from harness.spec import ModelSpec, OptimSpec, RunSpec
from harness.train import mesh as meshes
from harness.train.optim import Optimiser, group_rates
from harness.train.step_size import eval_batch_size, eval_call_batches, micro_batch_size

State = dict[str, Any]

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


class Engine:
    """Compiled programs of one shape on one mesh: `init`, `advance`, `eval_params`, `window_losses`."""

    def __init__(self, model: ModelSpec, optim: OptimSpec, micro_batch: int, mesh: Mesh):
        self.mesh = mesh
        self.micro_batch = micro_batch
        self.eval_batch = eval_batch_size(model, mesh.size, platform_of(mesh))
        self.eval_call = eval_call_batches(model.seq_len, self.eval_batch)
        self.model = model
        self._optimiser = Optimiser(optim)
        self._graph, self._empty = nnx.split(nnx.eval_shape(lambda: Decoder(model, nnx.Rngs(0))))
        abstract = jax.eval_shape(self._init, jax.random.key(0))
        self.state_shardings = meshes.state_shardings(mesh, abstract)
        tokens = meshes.batch_sharding(mesh, 2, 4)
        plain = meshes.replicated(mesh)
        self.init = jax.jit(
            self._init,
            out_shardings=self.state_shardings,
            compiler_options=QUICK_COMPILE if platform_of(mesh) == "cpu" else None,
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
        self.abstract_state = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract,
            self.state_shardings,
        )

    def _init(self, key: Array) -> State:
        _, params = nnx.split(Decoder(self.model, nnx.Rngs(key)))
        pure = nnx.to_pure_dict(params)
        return {"params": pure, "optimiser": self._optimiser.init(pure)}

    def _losses(self, params: Any, windows: Int[Array, "batch seq_plus_1"]) -> Float[Array, "batch seq"]:
        state = nnx.clone(self._empty)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(self._graph, state).losses(windows)

    def _gradients(self, params: Any, windows: Int[Array, "n_micro batch seq_plus_1"]) -> tuple[Array, Any]:
        """Mean loss and its gradient, summed over micro-batches in order."""
        scale = 1.0 / (windows.shape[0] * windows.shape[1] * (windows.shape[2] - 1))
        value_and_grad = jax.value_and_grad(lambda p, x: self._losses(p, x).sum() * scale)
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
            loss, grads = self._gradients(state["params"], inputs[0])
            norm = optax.tree.norm(grads)
            params, optimiser = self._optimiser.update(
                grads, state["optimiser"], state["params"], inputs[1], rates
            )
            return {"params": params, "optimiser": optimiser}, {"loss": loss, "grad_norm": norm}

        return jax.lax.scan(step, state, (windows, factors))

    def _window_losses(
        self, params: Any, windows: Int[Array, "n_batches batch seq_plus_1"]
    ) -> Float[Array, "n_batches batch"]:
        """Mean loss of each window."""
        return jax.lax.map(lambda batch: self._losses(params, batch).mean(axis=1), windows)


@lru_cache(maxsize=16)
def _engine(model: ModelSpec, optim: OptimSpec, micro_batch: int, mesh: Mesh) -> Engine:
    return Engine(model, optim, micro_batch, mesh)


def engine_for(spec: RunSpec, mesh: Mesh) -> Engine:
    """The engine of a recipe's shape; recipes that differ in rates, seed or tokens share it."""
    shape_only = replace(spec.optim, hidden_lr=0.0, embed_lr=0.0, head_lr=0.0, gain_lr=0.0)
    micro_batch = micro_batch_size(spec, mesh.size, platform_of(mesh))
    return _engine(spec.model, shape_only, micro_batch, mesh)


def advance(
    engine: Engine, state: State, windows: np.ndarray, factors: np.ndarray, optim: OptimSpec
) -> tuple[State, Metrics]:
    """Run one logging interval from host arrays: windows [steps, batch, seq+1], factors [steps]."""
    steps, batch, width = windows.shape
    micro = windows.reshape(steps, batch // engine.micro_batch, engine.micro_batch, width)
    rates = {group: np.float32(rate) for group, rate in group_rates(optim).items()}
    state, metrics = engine.advance(state, micro, factors, rates)
    host = jax.device_get(metrics)
    return state, Metrics(host["loss"], host["grad_norm"])
