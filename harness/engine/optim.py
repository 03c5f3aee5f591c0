"""Optimisers: AdamW, Muon, schedule-free AdamW, each with a peak learning rate per parameter group.

Rates and their schedule are arguments of the update, so that they are inputs of a compiled step and not
constants in it. Every array of a state is a scalar or has the shape of its parameter, and
`optax.tree.map_params(Optimiser(spec), ...)` finds the latter, so that states are sharded as parameters are.
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

# Momentum that Muon orthogonalises (K. Jordan, https://kellerjordan.github.io/posts/muon, 2024).
MUON_MOMENTUM = 0.95
UNIT_RATES = dict.fromkeys(GROUPS, 1.0)


@dataclass(frozen=True)
class Optimiser:
    """The optimiser that `spec.name` names; rates in `spec` are not read (see `group_rates`)."""

    spec: OptimSpec

    def init(self, params: Any) -> Any:
        """State before the first step."""
        return self._transform(jnp.ones(()), UNIT_RATES).init(params)

    def update(
        self, grads: Any, state: Any, params: Any, factor: Float[Array, ""], rates: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """Parameters and state after a step at `factor` times the peak rate of each group."""
        updates, state = self._transform(factor, rates).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def eval_params(self, params: Any, state: Any) -> Any:
        """Parameters to be scored: the average of a schedule-free run, else the trained ones."""
        if self.spec.name == "schedule_free":
            return optax.contrib.schedule_free_eval_params(state, params)
        return params

    def _transform(self, factor: Array, rates: Mapping[str, Any]) -> optax.GradientTransformation:
        made = {"adamw": _adamw, "muon": _muon, "schedule_free": _averaged}[self.spec.name](self.spec)
        step = _with_rates(made, factor, rates)
        if self.spec.name != "schedule_free":
            return step
        # Averages weight each step by its squared rate; the factor is common to all groups.
        return optax.contrib.schedule_free(step, learning_rate=lambda _: factor, b1=self.spec.beta1)


def group_rates(optim: OptimSpec) -> dict[str, float]:
    """Peak learning rate of each parameter group."""
    return asdict(optim.lr)


def parameter_groups(params: Any) -> Any:
    """The group of every leaf, as a tree."""
    return jax.tree_util.tree_map_with_path(lambda path, _: group_of(path), params)


def _with_rates(
    inner: optax.GradientTransformation, factor: Array, rates: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Descend along the direction of `inner`, each group at its own rate."""

    def update(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        direction, state = inner.update(grads, state, params)
        step = jax.tree.map(
            lambda leaf, group: leaf * (-factor * rates[group]), direction, parameter_groups(direction)
        )
        return step, state

    return optax.GradientTransformation(inner.init, update)


def _adamw(optim: OptimSpec) -> optax.GradientTransformation:
    """Clipped Adam direction with decoupled decay (Loshchilov & Hutter, arXiv:1711.05101)."""
    return optax.chain(optax.clip_by_global_norm(optim.grad_clip), _adam(optim), _decay(optim))


def _muon(optim: OptimSpec) -> optax.GradientTransformation:
    """Muon for hidden matrices, Adam for the other groups, under one clip and one decay."""
    of_group = {group: _orthogonal() if group == "hidden" else _adam(optim) for group in GROUPS}
    return optax.chain(
        optax.clip_by_global_norm(optim.grad_clip), optax.partition(of_group, parameter_groups), _decay(optim)
    )


def _averaged(optim: OptimSpec) -> optax.GradientTransformation:
    """AdamW without its momentum, in whose place schedule-free interpolates with `beta1`.

    References: Defazio et al., arXiv:2405.15682, section 3 and algorithm 1.
    """
    second = optax.scale_by_rms(decay=optim.beta2, eps=optim.eps, eps_in_sqrt=False, bias_correction=True)
    return optax.chain(optax.clip_by_global_norm(optim.grad_clip), second, _decay(optim))


def _adam(optim: OptimSpec) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=optim.beta1, b2=optim.beta2, eps=optim.eps)


def _decay(optim: OptimSpec) -> optax.GradientTransformation:
    """Decoupled weight decay, for hidden matrices at a strength of their own where one is given."""
    if optim.hidden_weight_decay is None:
        return optax.add_decayed_weights(optim.weight_decay)
    strength = dict.fromkeys(GROUPS, optim.weight_decay) | {"hidden": optim.hidden_weight_decay}
    return optax.partition({g: optax.add_decayed_weights(s) for g, s in strength.items()}, parameter_groups)


def matrix_axes(path: Any, shape: tuple[int, ...]) -> MuonDimensionNumbers:
    """Which axes of a hidden parameter are d_in and d_out; each matrix along the others stands alone.

    Axes before d_in count experts or stacked layers. A fused query-key-value kernel [d_in, 3, d_out] holds
    three matrices.
    """
    fused = any(str(getattr(part, "key", "")) == "qkv" for part in path) and len(shape) > 2 and shape[-2] == 3
    return MuonDimensionNumbers(reduction_axis=len(shape) - (3 if fused else 2), output_axis=len(shape) - 1)


def _orthogonal() -> optax.GradientTransformation:
    """Nesterov momentum made orthogonal by Newton-Schulz, times √max(1, d_out/d_in).

    A step then changes each matrix by a spectral norm of about √max(1, d_out/d_in) times its rate, which by
    the spectral condition (Yang et al., arXiv:2310.17813, section 3) needs no rule in width: this is
    Jordan's convention. Moonlight's (arXiv:2502.16982, section 2.2), .2·√max(d_in, d_out), has the root mean
    square of an AdamW step instead, and the rate that belongs to it falls with width.
    """

    def axes(tree: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, leaf: matrix_axes(path, leaf.shape), tree)

    inner = optax.contrib.scale_by_muon(beta=MUON_MOMENTUM, weight_dimension_numbers=axes)

    def init(params: Any) -> Any:
        # Its coefficients are constants: in the state they would be an array of no parameter's shape.
        return inner.init(params)._replace(ns_coeffs=())

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        whole = state._replace(ns_coeffs=inner.init({}).ns_coeffs)
        updates, whole = inner.update(grads, whole, params)
        return jax.tree_util.tree_map_with_path(_scaled, updates), whole._replace(ns_coeffs=())

    return optax.GradientTransformation(init, update)


def _scaled(path: Any, update: Array) -> Array:
    d_in, d_out = (update.shape[axis] for axis in matrix_axes(path, update.shape))
    return update * max(1.0, d_out / d_in) ** 0.5
