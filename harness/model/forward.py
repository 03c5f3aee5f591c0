"""The model as pure functions of its parameters, with unrolled, scanned or pipelined layers.

Unrolled, the parameter tree has one subtree per block. Scanned or pipelined, the arrays of all blocks are
stacked along a leading axis named `layer`. The mathematics is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt32

from harness.model import dropout, moe, partition
from harness.model.decoder import Block, Decoder, Kept, nothing_kept
from harness.model.layers import PRODUCT
from harness.model.moe import Routing, no_routing
from harness.recipe.spec import ModelSpec

Params = dict[str, Any]
# A subtree for each block by its number, or one tree of stacked arrays.
Blocks = dict[Any, Any]


class Stream(NamedTuple):
    """What goes from block to block.

    Attributes:
        x: Residual stream.
        routing: Routing statistics summed over the layers so far; None in a dense model.
        keys: Keys of dropout of the next block; None without dropout.
    """

    x: Array
    routing: Routing | None
    keys: Array | None = None


# Function of a decoder without blocks, the residual stream and the labels.
Score = Callable[[Decoder, Array, Array], Any]
# What rematerialisation saves: the results of matrix products, or (None) only the inputs of a block.
POLICIES = {"dots": jax.checkpoint_policies.save_only_these_names(PRODUCT), "full": None}


class Trained(NamedTuple):
    """What training minimises: the losses, and penalties on the rest.

    Attributes:
        losses: Cross-entropy of every next token in nats, which is also what is reported.
        routing: Routing statistics; None in a dense model.
        squares: Square of log Σ exp(logits) at every position; None without a z-loss.
    """

    losses: Float[Array, "*batch seq"]
    routing: Routing | None
    squares: Float[Array, "*batch seq"] | None = None


@dataclass(frozen=True)
class Layout:
    """Execution of the blocks.

    Attributes:
        n_stages: Pipeline stages; with more than one the blocks are stacked.
        stacked: Whether the blocks' parameters are stacked, to be scanned.
        remat: Rematerialisation: `none`, `dots` or `full`.
        attention: Attention implementation: `xla`, `cudnn` or `splash`.
    """

    n_stages: int = 1
    stacked: bool = False
    remat: str = "none"
    attention: str = "xla"


class _Module:
    """A Flax module as a function of its parameters, a pure dictionary.

    The module is made once, abstractly; a call merges parameters into it while JAX traces. The compiled
    program then takes plain arrays, and no step pays for Flax's bookkeeping on the host.
    """

    def __init__(self, make: Callable[[], nnx.Module]):
        self.graph, self.state = nnx.split(nnx.eval_shape(make))

    def __call__(self, params: Params) -> Any:
        # A clone, because the next call writes the parameters into it.
        state = nnx.clone(self.state)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(self.graph, state)

    @property
    def axes(self) -> Params:
        """Names of the dimensions of every parameter, in a tree like that of the parameters."""
        named = jax.tree.map(
            lambda leaf: leaf.axes, self.state, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)
        )
        return nnx.to_pure_dict(named)


def _block_module(model: ModelSpec, attention: str, window: int | None) -> _Module:
    return _Module(lambda: Block(model, nnx.Rngs(0), attention=attention, window=window))


def stack(params: Params) -> Params:
    """Return parameters with the blocks' arrays stacked along a leading `layer` axis."""
    blocks = [params["blocks"][i] for i in sorted(params["blocks"])]
    return params | {"blocks": jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}


def unstack(params: Params, n_layers: int) -> Params:
    """Return parameters with one subtree per block: the inverse of `stack`."""
    return params | {"blocks": unstacked(params["blocks"], n_layers)}


def unstacked(blocks: Blocks, n_layers: int) -> Blocks:
    """Return one subtree per block from the stacked arrays of `n_layers` blocks."""
    return {i: jax.tree.map(lambda leaf, i=i: leaf[i], blocks) for i in range(n_layers)}


def everywhere(change: Callable[[Params], Params], state: Any) -> Any:
    """Apply `change` to every parameter-like tree in a training state: parameters and optimiser moments."""

    def has_blocks(part: Any) -> bool:
        return isinstance(part, dict) and "blocks" in part

    return jax.tree.map(lambda part: change(part) if has_blocks(part) else part, state, is_leaf=has_blocks)


class Forward:
    """The model of a recipe on one mesh, as pure functions of its parameters.

    Args:
        model: Shape of the model.
        layout: Execution of the blocks.
        mesh: Device mesh of all arrays.
    """

    def __init__(self, model: ModelSpec, layout: Layout, mesh: Mesh):
        self.model, self.layout, self.mesh = model, layout, mesh
        attention = layout.attention
        self._whole = _Module(lambda: Decoder(model, nnx.Rngs(0), attention=attention))
        # A decoder without blocks: embedding, final norm and head.
        self._ends = _Module(lambda: Decoder(replace(model, n_layers=0), nnx.Rngs(0)))
        # One module for each layer after which windows repeat; most models have one.
        windows = [model.window_of(layer) for layer in range(model.window_period)]
        self._blocks = [_block_module(model, attention, window) for window in windows]

    def init(self, key: Array) -> Params:
        """Return initial parameters for a random key, the same numbers on every layout."""
        # Made block by block and then stacked, so that the random numbers do not depend on the layout.
        _, state = nnx.split(Decoder(self.model, nnx.Rngs(key)))
        params = nnx.to_pure_dict(state)
        return stack(params) if self.layout.stacked else params

    def axes(self, stacked: bool) -> Params:
        """Return the names of the dimensions of every parameter, with blocks stacked or not."""
        axes = self._whole.axes
        if not stacked:
            return axes
        blocks = jax.tree.map(lambda names: ("layer", *names), axes["blocks"][0], is_leaf=_is_names)
        return axes | {"blocks": blocks}

    def module(self, params: Params) -> Decoder:
        """Return the Flax model with these parameters, which have one subtree per block."""
        decoder = self._whole(params)
        assert isinstance(decoder, Decoder)
        return decoder

    def losses(self, params: Params, windows: Int[Array, "batch seq_plus_1"]) -> Float[Array, "batch seq"]:
        """Return the cross-entropy of every next token in nats; a window holds seq + 1 tokens."""
        return self.losses_and_routing(params, windows)[0]

    def losses_and_routing(
        self, params: Params, windows: Int[Array, "batch seq_plus_1"]
    ) -> tuple[Float[Array, "batch seq"], Routing | None]:
        """Return the losses of `losses`, and the routing statistics; None in a dense model."""
        return self._scored(params, windows, Decoder.token_losses)

    def trained(
        self,
        params: Params,
        windows: Int[Array, "batch seq_plus_1"],
        keys: UInt32[Array, "batch words"] | None = None,
    ) -> Trained:
        """Return what training minimises; `keys` are those of dropout."""
        if self.model.z_loss == 0:
            return Trained(*self._scored(params, windows, Decoder.token_losses, keys))
        (losses, squares), routing = self._scored(params, windows, Decoder.token_losses_and_squares, keys)
        return Trained(losses, routing, squares)

    def penalty(self, trained: Trained) -> Float[Array, "*batch"] | None:
        """Return the auxiliary loss of each sequence in nats per token; None if the model has none."""
        found = None if trained.routing is None else moe.penalty(self.model, trained.routing)
        if trained.squares is None:
            return found
        of_logits = self.model.z_loss * trained.squares.mean(axis=-1)
        return of_logits if found is None else found + of_logits

    def _scored(
        self, params: Params, windows: Array, score: Score, keys: Array | None = None
    ) -> tuple[Any, Routing | None]:
        """Return what `score` makes of the ends, the residual stream and the labels; and the routing."""
        if self.layout.n_stages > 1:
            several = None if keys is None else keys[None]
            found = self._scored_many(params, windows[None], score, several)
            return jax.tree.map(lambda leaf: leaf[0], found)
        with partition.on(self.mesh):
            inputs, labels = windows[:, :-1], windows[:, 1:]
            ends = self._ends(_without_blocks(params))
            start = Stream(ends.embedded(inputs, keys), no_routing(self.model, len(windows)), keys)
            x, routing, _ = self._run(params["blocks"], start, len(windows))
            return score(ends, x, labels), routing

    def logits(self, params: Params, tokens: Int[Array, "batch seq"]) -> Float[Array, "batch seq vocab"]:
        """Return the fp32 logits of the token after each position."""
        with partition.on(self.mesh):
            ends = self._ends(_without_blocks(params))
            x, batch = ends.embedded(tokens), len(tokens)
            if self.layout.n_stages > 1:
                x = self._pipeline(params["blocks"], x[None], None, batch).x[0]
            else:
                x = self._run(params["blocks"], Stream(x, no_routing(self.model, batch)), batch).x
            return ends.logits(x).reshape(*tokens.shape, -1)

    def greedy(
        self, params: Params, tokens: Int[Array, "batch seq_plus_1"], n_given: Int[Array, " batch"]
    ) -> Int[Array, "batch seq"]:
        """Decode greedily with a KV cache, one position per iteration of a scan.

        Only for dense models: the capacity of an expert is counted over a whole sequence.

        Args:
            params: Parameters.
            tokens: Prompts; what stands beyond `n_given` is ignored.
            n_given: Prompt tokens of each row, at least 1.

        Returns:
            Tokens 1 to seq of each row: the rest of the prompt, then the decoded tokens.
        """
        batch, length = tokens.shape[0], tokens.shape[1] - 1
        blocks = params["blocks"]
        if self.layout.stacked and len(self._blocks) > 1:
            # KV caches of layers with and without a window differ in length and cannot be stacked.
            blocks = unstack(params, self.model.n_layers)["blocks"]
        with partition.on(self.mesh):
            ends = self._ends(_without_blocks(params))

            def place(carry: Any, inputs: tuple[Array, Array]) -> tuple[Any, Array]:
                (shown, kept), (at, given) = carry, inputs
                x, kept = self._after(blocks, ends.embedded(shown[:, None]), kept, at)
                likeliest = ends.logits(x).argmax(axis=1).astype(tokens.dtype)
                shown = jnp.where(at + 1 < n_given, given, likeliest)
                return (shown, kept), shown

            start = tokens[:, 0], self._nothing_kept(batch, length)
            return jax.lax.scan(place, start, (jnp.arange(length), tokens[:, 1:].T))[1].T

    def _nothing_kept(self, batch: int, length: int) -> Any:
        """Return an empty KV cache of every block, stacked if the blocks are and windows allow it."""
        model = self.model
        if self.layout.stacked and len(self._blocks) == 1:
            empty = nothing_kept(model, batch, length, model.window)
            return jax.tree.map(lambda leaf: jnp.stack([leaf] * model.n_layers), empty)
        windows = [model.window_of(layer) for layer in range(model.n_layers)]
        of_window = {window: nothing_kept(model, batch, length, window) for window in dict.fromkeys(windows)}
        return {layer: of_window[window] for layer, window in enumerate(windows)}

    def _after(self, blocks: Blocks, x: Array, kept: Any, at: Array) -> tuple[Array, Any]:
        """Apply all blocks to one token of each sequence; return its residual stream and the KV caches."""

        def block(x: Array, own: tuple[Params, Kept], layer: int = 0) -> tuple[Array, Kept]:
            module = self._block_of(layer)(own[0])
            assert isinstance(module, Block)
            return module.after(x, own[1], at)

        if self.layout.stacked and len(self._blocks) == 1:
            return jax.lax.scan(block, x, (blocks, kept))
        after = {}
        for index in sorted(blocks):
            x, after[index] = block(x, (blocks[index], kept[index]), index)
        return x, after

    def _block_of(self, layer: int) -> _Module:
        """Return the module of a layer, counted from the first of the model or of a stage."""
        return self._blocks[layer % len(self._blocks)]

    def losses_of_many(
        self, params: Params, windows: Int[Array, "n batch seq_plus_1"]
    ) -> Float[Array, "n batch seq"]:
        """Return the losses of `n` micro-batches.

        A pipeline needs them all at once: they follow each other through its stages.
        """
        if self.layout.n_stages == 1:
            return jax.lax.map(lambda batch: self.losses(params, batch), windows)
        losses: Array = self._scored_many(params, windows, Decoder.token_losses)[0]
        return losses

    def trained_on_many(
        self,
        params: Params,
        windows: Int[Array, "n batch seq_plus_1"],
        keys: UInt32[Array, "n batch words"] | None = None,
    ) -> Trained:
        """Return what training minimises for `n` micro-batches of a pipeline."""
        if self.model.z_loss == 0:
            return Trained(*self._scored_many(params, windows, Decoder.token_losses, keys))
        score = Decoder.token_losses_and_squares
        (losses, squares), routing = self._scored_many(params, windows, score, keys)
        return Trained(losses, routing, squares)

    def _scored_many(
        self, params: Params, windows: Array, score: Score, keys: Array | None = None
    ) -> tuple[Any, Routing | None]:
        """Return what `_scored` does for `n` micro-batches of a pipeline."""
        with partition.on(self.mesh):
            inputs, labels = windows[..., :-1], windows[..., 1:]
            ends = self._ends(_without_blocks(params))
            x = jax.vmap(ends.embedded)(inputs, keys)
            x, routing, _ = self._pipeline(params["blocks"], x, keys, windows.shape[1])
            # Logits of all micro-batches together would outweigh all other activations, so the backward pass
            # rematerialises them one micro-batch at a time.
            scored = jax.checkpoint(lambda pair: score(ends, *pair))
            return jax.lax.map(scored, (x, labels)), routing

    def _run(self, blocks: Blocks, stream: Stream, batch: int) -> Stream:
        """Apply the blocks in order; return the residual stream and the summed routing statistics."""

        def block(module: _Module, params: Params, stream: Stream) -> Stream:
            x, routing = module(params)(stream.x, batch, stream.keys)
            keys = None if stream.keys is None else dropout.folded(stream.keys, dropout.NEXT)
            return Stream(x, jax.tree.map(jnp.add, stream.routing, routing), keys)

        def of_layers(blocks: Blocks, stream: Stream) -> Stream:
            for index in sorted(blocks):
                stream = apply[index % len(apply)](blocks[index], stream)
            return stream

        apply = [self._rematerialised(partial(block, module)) for module in self._blocks]
        if not self.layout.stacked:
            return of_layers(blocks, stream)
        # A scan compiles one period of blocks instead of n_layers blocks.
        if len(apply) == 1:
            return jax.lax.scan(lambda stream, params: (apply[0](params, stream), None), stream, blocks)[0]
        n_layers, period = len(jax.tree.leaves(blocks)[0]), len(apply)
        whole = n_layers // period * period
        periods = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, period, *leaf.shape[1:]), blocks)
        apart = partial(unstacked, n_layers=period)
        stream = jax.lax.scan(lambda stream, own: (of_layers(apart(own), stream), None), stream, periods)[0]
        rest = jax.tree.map(lambda leaf: leaf[whole:], blocks)
        return of_layers(unstacked(rest, n_layers - whole), stream)

    def _rematerialised(self, apply: Callable[..., Stream]) -> Callable[..., Stream]:
        """Return `apply` with the layout's rematerialisation in the backward pass."""
        if self.layout.remat == "none":
            return apply
        return jax.checkpoint(apply, policy=POLICIES[self.layout.remat])

    def _pipeline(
        self,
        blocks: Blocks,
        x: Float[Array, "n tokens d"],
        keys: UInt32[Array, "n batch words"] | None,
        batch: int,
    ) -> Stream:
        """Run micro-batches through a pipeline of stages; return the output of the last stage for each.

        The stages are a vmapped axis that the mesh splits. At every tick each stage works on one micro-batch,
        then all outputs shift to the next stage, which XLA turns into a collective permutation.

        References:
            GPipe, Huang et al., arXiv:1811.06965.
            GSPMD, Xu et al., arXiv:2105.04663, section 3.3, for the vmapped form.
        """
        n_stages, n = self.layout.n_stages, len(x)
        split = jax.tree.map(lambda leaf: leaf.reshape(n_stages, -1, *leaf.shape[1:]), blocks)
        run = jax.vmap(lambda params, x: self._run(params, x, batch), spmd_axis_name=partition.STAGE)
        unrouted = no_routing(self.model, batch)

        def tick(stages: Stream, time: Array) -> tuple[Stream, Stream]:
            # After the last micro-batch the first stage gets it again; these copies never reach the end.
            number = jnp.minimum(time, n - 1)
            fed = Stream(x[number], unrouted, None if keys is None else keys[number])
            moved = jax.tree.map(lambda old, new: jnp.roll(old, 1, axis=0).at[0].set(new), stages, fed)
            stages = run(split, _staged(moved))
            return stages, jax.tree.map(lambda leaf: leaf[-1], stages)

        first = Stream(x[0], unrouted, None if keys is None else keys[0])
        empty = jax.tree.map(lambda leaf: jnp.zeros((n_stages, *leaf.shape), leaf.dtype), first)
        ended = jax.lax.scan(tick, _staged(empty), jnp.arange(n + n_stages - 1))[1]
        # The first n_stages - 1 outputs come from the zeros with which the stages start.
        return jax.tree.map(lambda leaf: leaf[n_stages - 1 :], ended)


def _staged(stream: Stream) -> Stream:
    """Constrain the leading axis of the stream to the pipeline stages."""
    return jax.tree.map(lambda leaf: partition.constrain(leaf, "layer", "batch"), stream)


def _without_blocks(params: Params) -> Params:
    return {name: leaf for name, leaf in params.items() if name != "blocks"}


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple)
