"""The optimiser: a direction for every parameter, and the peak learning rate of its group."""

from __future__ import annotations

from typing import Any

import jax
import optax

from harness.model.decoder import group_of
from harness.spec import OptimSpec


def group_rates(optim: OptimSpec) -> dict[str, float]:
    """Peak learning rate of each parameter group."""
    return {"hidden": optim.hidden_lr, "embed": optim.embed_lr, "head": optim.head_lr, "gain": optim.gain_lr}


def adamw(optim: OptimSpec) -> optax.GradientTransformation:
    """Clipped Adam direction with decoupled decay (Loshchilov & Hutter, arXiv:1711.05101), rate 1."""
    return optax.chain(
        optax.clip_by_global_norm(optim.grad_clip),
        optax.scale_by_adam(b1=optim.beta1, b2=optim.beta2, eps=optim.eps),
        optax.add_decayed_weights(optim.weight_decay),
    )


def parameter_groups(params: Any) -> list[str]:
    """Group of every leaf of a parameter tree, in the order of `jax.tree.leaves`."""
    return [group_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
