"""Exact counts of parameters and training FLOPs, from shapes alone.

Three parameter counts and two FLOP counts are kept for every run, because published exponents move by more
than their intervals with the counting rule alone (Porian et al., arXiv:2406.19146, section 3).
"""

from __future__ import annotations

import math

from harness.recipe.spec import ModelSpec


def mlp_matrices(model: ModelSpec) -> int:
    return 3 if model.mlp == "swiglu" else 2


def mlp_entries(model: ModelSpec) -> int:
    """Entries of the weight matrices of one MLP, of which a mixture of experts has several."""
    return mlp_matrices(model) * model.d_model * model.d_ff


def n_matrices_layer(model: ModelSpec, n_mlps: int) -> int:
    """Entries of the weight matrices of one block: attention projections, router and `n_mlps` MLPs."""
    router = model.d_model * model.n_experts if model.n_experts > 1 else 0
    return 4 * model.d_model**2 + router + n_mlps * mlp_entries(model)


def expert_capacity(model: ModelSpec, seq_len: int) -> int:
    """Tokens of a sequence that one expert takes: its even share times `capacity_factor`, rounded up."""
    even = model.n_active_experts * seq_len / model.n_experts
    return min(seq_len, math.ceil(round(model.capacity_factor * even, 9)))


def n_params_body(model: ModelSpec) -> int:
    """Parameters without embedding and head (Kaplan's N), gains and all experts included."""
    gains = 2 * model.d_model + (2 * model.head_dim if model.qk_norm else 0)
    gains += model.d_model if model.key_shift else 0
    return model.n_layers * (n_matrices_layer(model, model.n_experts) + gains) + model.d_model


def n_params_matmul(model: ModelSpec) -> int:
    """Entries that a token meets in matrix products: block matrices and head; of the experts, its own."""
    of_blocks = model.n_layers * n_matrices_layer(model, model.n_active_experts)
    return of_blocks + model.vocab_size * model.d_model


def n_params(model: ModelSpec) -> int:
    """All parameters: body with all experts, embedding and untied head."""
    return n_params_body(model) + 2 * model.vocab_size * model.d_model


def forward_flops_token(model: ModelSpec) -> int:
    """Matmul FLOPs of one token's forward pass; attention scores and values over the whole context.

    Every token counts with all its experts: empty places of experts and dropped tokens change nothing.
    """
    attention = 4 * model.n_layers * model.seq_len * model.d_model
    return 2 * n_params_matmul(model) + attention


def train_flops_token(model: ModelSpec) -> int:
    """Forward and backward: three times the forward matmuls; the embedding look-up is free."""
    return 3 * forward_flops_token(model)


def train_flops(model: ModelSpec, n_tokens: int) -> float:
    """Exact training FLOPs (`flops`)."""
    return float(train_flops_token(model)) * n_tokens


def train_flops_6nd(model: ModelSpec, n_tokens: int) -> float:
    """The usual approximation 6·N·D with N = `n_params_matmul` (`flops_6nd`)."""
    return 6.0 * n_params_matmul(model) * n_tokens
