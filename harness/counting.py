"""Exact counts of parameters and training FLOPs, from shapes alone.

Three parameter counts and two FLOP counts are kept for every run, because published exponents move by more
than their intervals with the counting rule alone (Porian et al., arXiv:2406.19146, section 3).
"""

from __future__ import annotations

from harness.spec import ModelSpec


def mlp_matrices(model: ModelSpec) -> int:
    return 3 if model.mlp == "swiglu" else 2


def n_matrices_layer(model: ModelSpec) -> int:
    """Entries of the weight matrices of one block: attention projections and MLP."""
    return 4 * model.d_model**2 + mlp_matrices(model) * model.d_model * model.d_ff


def n_params_body(model: ModelSpec) -> int:
    """Parameters without embedding and head (Kaplan's N), gains included."""
    gains = 2 * model.d_model + (2 * model.head_dim if model.qk_norm else 0)
    gains += model.d_model if model.key_shift else 0
    return model.n_layers * (n_matrices_layer(model) + gains) + model.d_model


def n_params_matmul(model: ModelSpec) -> int:
    """Entries that take part in matrix products: block matrices and head."""
    return model.n_layers * n_matrices_layer(model) + model.vocab_size * model.d_model


def n_params(model: ModelSpec) -> int:
    """All parameters: body, embedding and untied head."""
    return n_params_body(model) + 2 * model.vocab_size * model.d_model


def forward_flops_token(model: ModelSpec) -> int:
    """Matmul FLOPs of one token's forward pass; attention scores and values over the whole context."""
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
