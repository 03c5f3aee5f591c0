"""Optimisers with a learning rate per parameter group: AdamW, Muon and schedule-free AdamW.

Learning rates and schedule factors are arguments of the update: inputs of the compiled step, not constants in
it. So runs that differ in rates alone share one compiled program.
Every array of an optimiser state is a scalar or has the shape of its parameter, and is sharded like it.
`optax.tree.map_params(Optimiser(spec), ...)` finds the arrays that belong to a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers

from harness.model.decoder import group_of
from harness.recipe.spec import GROUPS, OptimSpec

# Decay of the momentum that Muon orthogonalises (K. Jordan, https://kellerjordan.github.io/posts/muon, 2024).
MUON_MOMENTUM = 0.95
# Matrices in the fused kernels of attention, by name (`harness.model.decoder.Attention`).
PARTS = {"qkv": 3, "q": 1, "kv": 2}
UNIT_RATES = dict.fromkeys(GROUPS, 1.0)


@dataclass(frozen=True)
class Optimiser:
    """Optimiser by `spec.name`; the learning rates in `spec` are not read (see `group_rates`)."""

    spec: OptimSpec

    def init(self, params: Any) -> Any:
        """Return the optimiser state before the first step."""
        return self._transform(jnp.ones(()), UNIT_RATES).init(params)

    def update(
        self, grads: Any, state: Any, params: Any, factor: Float[Array, ""], rates: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """Return parameters and optimiser state after one step.

        Args:
            grads: Gradients, not yet clipped.
            state: Optimiser state.
            params: Parameters.
            factor: Schedule factor of this step.
            rates: Peak learning rate of each parameter group.
        """
        updates, state = self._transform(factor, rates).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def eval_params(self, params: Any, state: Any) -> Any:
        """Return the parameters to evaluate: the average of a schedule-free run, else `params`."""
        if self.spec.name == "schedule_free":
            return optax.contrib.schedule_free_eval_params(state, params)
        return params

    def _transform(self, factor: Array, rates: Mapping[str, Any]) -> optax.GradientTransformation:
        # Built at every trace, because Optax keeps learning rates in closures and ours are traced values.
        made = {"adamw": _adamw, "muon": _muon, "schedule_free": _averaged}[self.spec.name](self.spec)
        step = _with_rates(made, factor, rates)
        if self.spec.name != "schedule_free":
            return step
        # The average weights each step by its squared learning rate. The factor stands for it, because it is
        # common to all groups.
        return optax.contrib.schedule_free(step, learning_rate=lambda _: factor, b1=self.spec.beta1)


def group_rates(optim: OptimSpec) -> dict[str, float]:
    """Return the peak learning rate of each parameter group."""
    return asdict(optim.lr)


def parameter_groups(params: Any) -> Any:
    """Return the name of the parameter group of every leaf, as a tree."""
    return jax.tree_util.tree_map_with_path(lambda path, _: group_of(path), params)


def _with_rates(
    inner: optax.GradientTransformation, factor: Array, rates: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Multiply the update of `inner` by minus factor × rate, each parameter group with its own rate."""

    def update(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        direction, state = inner.update(grads, state, params)
        step = jax.tree.map(
            lambda leaf, group: leaf * (-factor * rates[group]), direction, parameter_groups(direction)
        )
        return step, state

    return optax.GradientTransformation(inner.init, update)


def _adamw(optim: OptimSpec) -> optax.GradientTransformation:
    """AdamW after clipping by global norm (Loshchilov & Hutter, arXiv:1711.05101)."""
    # Decay comes after Adam, so that its moments do not see it, and before the learning rate, which scales
    # both.
    return optax.chain(optax.clip_by_global_norm(optim.grad_clip), _adam(optim), _decay(optim))


def _muon(optim: OptimSpec) -> optax.GradientTransformation:
    """Muon for hidden matrices and Adam for the other groups, with common clipping and decay."""
    of_group = {group: _orthogonal() if group == "hidden" else _adam(optim) for group in GROUPS}
    return optax.chain(
        optax.clip_by_global_norm(optim.grad_clip), optax.partition(of_group, parameter_groups), _decay(optim)
    )


def _averaged(optim: OptimSpec) -> optax.GradientTransformation:
    """AdamW without momentum: schedule-free interpolation with `beta1` takes its place.

    References:
        Defazio et al., arXiv:2405.15682, section 3 and algorithm 1.
    """
    second = optax.scale_by_rms(decay=optim.beta2, eps=optim.eps, eps_in_sqrt=False, bias_correction=True)
    return optax.chain(optax.clip_by_global_norm(optim.grad_clip), second, _decay(optim))


def _adam(optim: OptimSpec) -> optax.GradientTransformation:
    """Adam's update at rate 1 (Kingma & Ba, arXiv:1412.6980, algorithm 1)."""
    return optax.scale_by_adam(b1=optim.beta1, b2=optim.beta2, eps=optim.eps)


def _decay(optim: OptimSpec) -> optax.GradientTransformation:
    """Decoupled weight decay; hidden matrices use `hidden_weight_decay` if it is set."""
    if optim.hidden_weight_decay is None:
        return optax.add_decayed_weights(optim.weight_decay)
    strength = dict.fromkeys(GROUPS, optim.weight_decay) | {"hidden": optim.hidden_weight_decay}
    return optax.partition({g: optax.add_decayed_weights(s) for g, s in strength.items()}, parameter_groups)


def matrix_axes(path: Any, shape: tuple[int, ...]) -> MuonDimensionNumbers:
    """Return the axes d_in and d_out of a hidden parameter; Muon orthogonalises each matrix along the others.

    Axes before d_in count experts or stacked layers. A fused kernel of attention, such as that of queries,
    keys and values, [d_in, 3, d_out], holds a matrix for each of its parts.
    """
    names = {str(getattr(part, "key", "")) for part in path}
    fused = len(shape) > 2 and any(shape[-2] == PARTS[name] for name in names & PARTS.keys())
    return MuonDimensionNumbers(reduction_axis=len(shape) - (3 if fused else 2), output_axis=len(shape) - 1)


def _orthogonal() -> optax.GradientTransformation:
    """Muon: Nesterov momentum orthogonalised by Newton-Schulz iterations, times √max(1, d_out/d_in).

    The spectral norm of a step is then about √max(1, d_out/d_in) times the learning rate. By the spectral
    condition the rate needs no rule in width.
    This is Jordan's convention. Moonlight's, .2·√max(d_in, d_out), gives a step the root mean square of an
    AdamW step instead, and its learning rate falls with width.

    References:
        K. Jordan, https://kellerjordan.github.io/posts/muon, 2024.
        Spectral condition: Yang et al., arXiv:2310.17813, section 3.
        Moonlight: Liu et al., arXiv:2502.16982, section 2.2.
    """

    def axes(tree: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, leaf: matrix_axes(path, leaf.shape), tree)

    inner = optax.contrib.scale_by_muon(beta=MUON_MOMENTUM, weight_dimension_numbers=axes)

    def init(params: Any) -> Any:
        # Optax keeps the Newton-Schulz coefficients in the state. They are constants of no parameter's shape,
        # so they are taken out and put back for each update.
        return inner.init(params)._replace(ns_coeffs=())

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        whole = state._replace(ns_coeffs=inner.init({}).ns_coeffs)
        updates, whole = inner.update(grads, whole, params)
        return jax.tree_util.tree_map_with_path(_scaled, updates), whole._replace(ns_coeffs=())

    return optax.GradientTransformation(init, update)


def _scaled(path: Any, update: Array) -> Array:
    """Multiply an orthogonal update by √max(1, d_out/d_in)."""
    d_in, d_out = (update.shape[axis] for axis in matrix_axes(path, update.shape))
    return update * max(1.0, d_out / d_in) ** 0.5
