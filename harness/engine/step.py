"""The jitted training step: gradient accumulation over micro-batches, optimiser update, and a scan of steps.

Learning rates, schedule factors, seed and token count are inputs of the compiled program. Only shapes and the
optimiser's other constants are compiled in, so that runs of one shape share one program.
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
from jaxtyping import Array, Float, Int, UInt32

from harness.engine import distributed, loss_scale
from harness.engine import mesh as meshes
from harness.engine.optim import Optimiser, group_rates
from harness.execution.execution import Execution, attention_on
from harness.execution.micro_batch import eval_batch_size, eval_call_batches, micro_batch_size
from harness.model import dropout, partition
from harness.model.forward import Forward, Layout, everywhere, stack, unstack
from harness.recipe.spec import ModelSpec, OptimSpec, RunSpec

State = dict[str, Any]

PLAIN, DEFAULTS = Layout(), Execution()
# Compiler options of a program that runs once: half the compile time, the same numbers.
QUICK_COMPILE = {"xla_backend_optimization_level": 1}


@dataclass(frozen=True)
class Metrics:
    """Metrics of one logging interval on the host, one value per step.

    Attributes:
        loss: Mean training loss of the batch in nats per token, before the step.
        grad_norm: Global norm of the gradient, before clipping.
    """

    loss: np.ndarray
    grad_norm: np.ndarray


def platform_of(mesh: Mesh) -> str:
    """Return the platform of a mesh: `cpu`, `gpu` or `tpu`."""
    return str(mesh.devices.flat[0].platform)


def quickly(platform: str) -> dict[str, int] | None:
    """Return compiler options for a program that runs once; None on accelerators."""
    return QUICK_COMPILE if platform == "cpu" else None


class Engine:
    """Compiled programs of one model shape and optimiser on one mesh.

    Args:
        model: Shape of the model.
        optim: Optimiser; its learning rates are not read.
        micro_batch: Sequences per micro-batch, over the whole mesh.
        mesh: Device mesh.
        layout: Execution of the blocks.

    Attributes:
        init: Random key to the initial training state.
        advance: State, windows [steps, n_micro, micro_batch, seq+1], schedule factors [steps] and peak rates
            to the new state and metrics [steps]. It donates the state: the argument is invalid afterwards.
        eval_params: State to the parameters to evaluate.
        window_losses: Parameters and windows [n_batches, batch, seq+1] to mean losses [n_batches, batch] in
            nats per token.
        to_checkpoint: State to the tree of a checkpoint, the same for every layout.
        from_checkpoint: The inverse of `to_checkpoint`.
    """

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
        # The state is donated: XLA writes the new state into the memory of the old one. Without it a step
        # would need memory for both.
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
        """Compile `advance` for a pack: `n_lanes` states of this shape, vmapped.

        Returns:
            A function of a list of states, windows [lanes, steps, n_micro, micro_batch, seq+1], factors
            [lanes, steps] and rates [lanes]. It returns the new states and metrics [lanes, steps], and
            donates the old states.
        """

        def advance(states: list[State], *inputs: Any) -> tuple[list[State], dict[str, Array]]:
            # States are stacked inside the program, because each run keeps, copies and saves its own.
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

    def on_host(self, params: Any) -> Any:
        """Return parameters as host arrays, one subtree per block on every layout.

        With several processes each must call it, because arrays are gathered one after the other.
        """
        whole = jax.tree.map(distributed.fetched, params)
        return unstack(whole, self.model.n_layers) if self.forward.layout.stacked else whole

    def _set_checkpoints(self) -> None:
        """Set the conversions between a training state and a checkpoint, which has one subtree per block.

        So a run can resume on another mesh or platform, whether blocks are stacked there or not.
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
        """Return the shardings of a state: optimiser arrays like their parameters, counters replicated."""
        plain = meshes.replicated(self.mesh)
        params = meshes.tree_shardings(self.mesh, abstract["params"], self.forward.axes(stacked))
        known = dict(jax.tree_util.tree_leaves_with_path(params))

        # An optimiser array's path ends with the path of its parameter; optax puts its own keys before it.
        def where(path: tuple[Any, ...], _: Any) -> Any:
            return next((known[path[i:]] for i in range(len(path)) if path[i:] in known), plain)

        return jax.tree_util.tree_map_with_path(where, abstract)

    def _init(self, key: Array) -> State:
        """Return the initial state: `params`, `optimiser`, and `loss_scale` and `dropout` if used."""
        params = self.forward.init(key)
        state = {"params": params, "optimiser": self._optimiser.init(params)}
        if self.model.precision == "fp16":
            state["loss_scale"] = loss_scale.initial()
        if self.model.dropout:
            # The step is counted here, because that of an optimiser stands still if fp16 overflows.
            state["dropout"] = {"key": dropout.first_key(key), "step": jnp.zeros((), jnp.int32)}
        return state

    def _dropout(self, state: State, shape: tuple[int, ...]) -> tuple[Array | None, State]:
        """Return the keys of dropout for windows of this shape, and the part of the next state."""
        if "dropout" not in state:
            return None, {}
        key, step = state["dropout"]["key"], state["dropout"]["step"]
        return dropout.step_keys(key, step, *shape[:2]), {"dropout": {"key": key, "step": step + 1}}

    def _gradients(
        self,
        params: Any,
        windows: Int[Array, "n_micro batch seq_plus_1"],
        factor: Array | float = 1.0,
        keys: UInt32[Array, "n_micro batch words"] | None = None,
    ) -> tuple[Array, Any]:
        """Return mean loss and gradient, both times `factor`, accumulated over micro-batches in order.

        The gradient is that of the loss plus the auxiliary losses of routing and of logits, if the model has
        any. The returned loss leaves the auxiliary losses out.

        Args:
            params: Parameters.
            windows: Token windows of one batch.
            factor: Loss scale.
            keys: Keys of dropout, one for each window.
        """
        length = windows.shape[2] - 1
        # Sums are divided by the tokens of the whole batch, so that micro-batches add up to its mean.
        scale = factor / (windows.shape[0] * windows.shape[1] * length)

        def trained(params: Any, windows: Array, keys: Array | None) -> tuple[Array, Array]:
            found = score(params, windows, keys)
            loss = found.losses.sum() * scale
            penalty = self.forward.penalty(found)
            if penalty is None:
                return loss, loss
            # `scale` averages over tokens; the auxiliary loss has one value per sequence.
            return loss + penalty.sum() * (scale * length), loss

        def value_and_grad(params: Any, windows: Array, keys: Array | None) -> tuple[Array, Any]:
            (_, loss), grads = jax.value_and_grad(trained, has_aux=True)(params, windows, keys)
            return loss, grads

        if self.forward.layout.n_stages > 1:
            score = self.forward.trained_on_many
            return value_and_grad(params, windows, keys)
        score = self.forward.trained
        if windows.shape[0] == 1:
            return value_and_grad(params, windows[0], None if keys is None else keys[0])

        def add(total: Any, micro: tuple[Array, Array | None]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, value_and_grad(params, *micro)), None

        # A scan keeps the activations of one micro-batch at a time, and compiles its body once.
        zero = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), params))
        return jax.lax.scan(add, zero, (windows, keys))[0]

    def _advance(
        self,
        state: State,
        windows: Int[Array, "steps n_micro batch seq_plus_1"],
        factors: Float[Array, " steps"],
        rates: dict[str, Array],
    ) -> tuple[State, dict[str, Array]]:
        """Train one logging interval: one step per leading entry of `windows`.

        Args:
            state: Training state.
            windows: Token windows of each step.
            factors: Schedule factor of each step.
            rates: Peak learning rate of each parameter group.

        Returns:
            The new state, and metrics [steps].
        """

        def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, dict[str, Array]]:
            keys, after = self._dropout(state, inputs[0].shape)
            if "loss_scale" in state:
                trained, metrics = scaled_step(state, inputs, keys)
            else:
                gradients = self._gradients(state["params"], inputs[0], keys=keys)
                trained, metrics = apply(state, inputs[1], *gradients)
            return trained | after, metrics

        def scaled_step(
            state: State, inputs: tuple[Array, Array], keys: Array | None
        ) -> tuple[State, dict[str, Array]]:
            # Gradients are unscaled before the norm and the clip. After an overflow the old state stays, and
            # the metrics still show the loss.
            before = state["loss_scale"]
            outcome = self._gradients(state["params"], inputs[0], before["scale"], keys)
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

        # A scan over steps dispatches a whole interval at once: Python's part of a step would otherwise take
        # a noticeable share of a tiny model's step.
        return jax.lax.scan(step, state, (windows, factors))

    def _window_losses(
        self, params: Any, windows: Int[Array, "n_batches batch seq_plus_1"]
    ) -> Float[Array, "n_batches batch"]:
        """Return the mean loss of each window in nats per token."""
        if self.forward.layout.n_stages > 1:
            return self.forward.losses_of_many(params, windows).mean(axis=2)
        # A map holds the logits of one batch at a time.
        return jax.lax.map(lambda batch: self.forward.losses(params, batch).mean(axis=1), windows)


def _described(abstract: State, shardings: State) -> State:
    """Return abstract arrays with their shardings: what a restore and a compilation ahead of time need."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )


def layout_of(model: ModelSpec, mesh: Mesh, execution: Execution) -> Layout:
    """Return the execution of the blocks on a mesh.

    By default accelerators scan the layers, which compiles one block instead of all; CPUs unroll them.
    """
    stages = mesh.shape[partition.STAGE]
    attention = attention_on(model, execution, platform_of(mesh), stages)
    scanned = execution.scan_layers
    if scanned is None:
        scanned = platform_of(mesh) != "cpu"
    return Layout(stages, scanned or stages > 1, execution.remat, attention)


# Cached, because a new engine has new jitted functions and would compile all programs again.
@lru_cache(maxsize=16)
def _engine(model: ModelSpec, optim: OptimSpec, micro_batch: int, mesh: Mesh, layout: Layout) -> Engine:
    return Engine(model, optim, micro_batch, mesh, layout)


def engine_for(spec: RunSpec, mesh: Mesh, execution: Execution = DEFAULTS) -> Engine:
    """Return the engine of a recipe on a mesh; recipes that differ in rates, seed or tokens share it.

    Args:
        spec: Recipe of the run.
        mesh: Device mesh.
        execution: Execution options.
    """
    layout = layout_of(spec.model, mesh, execution)
    shards = meshes.n_batch_shards(mesh)
    micro_batch = execution.micro_batch or micro_batch_size(spec, shards, platform_of(mesh), layout.n_stages)
    return _engine(spec.model, spec.optim.compiled, micro_batch, mesh, layout)


def micro_batches(engine: Engine, windows: np.ndarray) -> np.ndarray:
    """Split windows [..., batch, seq+1] into micro-batches [..., n_micro, micro_batch, seq+1]."""
    *before, batch, width = windows.shape
    return windows.reshape(*before, batch // engine.micro_batch, engine.micro_batch, width)


def advance(
    engine: Engine, state: State, windows: np.ndarray, factors: np.ndarray, optim: OptimSpec
) -> tuple[State, Metrics]:
    """Train one logging interval from host arrays.

    Args:
        engine: Engine of the recipe's shape.
        state: Training state, which is donated: do not use it afterwards.
        windows: Token windows, int32 [steps, batch, seq+1].
        factors: Schedule factors, fp32 [steps].
        optim: Optimiser, for its peak learning rates.

    Returns:
        The new state on the devices, and the metrics on the host.
    """
    placed = distributed.place(micro_batches(engine, windows), meshes.batch_sharding(engine.mesh, 2, 4))
    # np.float32, because JAX treats a Python float as a weakly typed input and would compile
    # another program for it.
    rates = {group: np.float32(rate) for group, rate in group_rates(optim).items()}
    # JAX dispatches asynchronously: the call returns before the devices have computed. Fetching the metrics
    # waits for them, so they are fetched once per interval and not per step.
    state, metrics = engine.advance(state, placed, factors, rates)
    host = jax.device_get(metrics)
    return state, Metrics(host["loss"], host["grad_norm"])
