"""Exact counts of parameters and training FLOPs, from shapes alone.

Every run stores three parameter counts and two FLOP counts. The counting rule alone moves published exponents
by more than their intervals (Porian et al., arXiv:2406.19146, section 3).

Parameter counts are entries of arrays; a FLOP is one multiplication or addition.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.recipe.spec import ModelSpec


def mlp_matrices(model: ModelSpec) -> int:
    """Return the number of weight matrices of one MLP: up and down, and the gate of SwiGLU."""
    return 3 if model.mlp == "swiglu" else 2


def mlp_entries(model: ModelSpec) -> int:
    """Return the parameters of one MLP; a mixture of experts has one MLP per expert."""
    return mlp_matrices(model) * model.d_model * model.d_ff


def n_matrices_layer(model: ModelSpec, n_mlps: int) -> int:
    """Return the matrix parameters of one block: attention projections, router and `n_mlps` MLPs."""
    router = model.d_model * model.n_experts if model.n_experts > 1 else 0
    attention = 2 * model.d_model**2 + 2 * model.d_model * model.d_kv
    return attention + router + n_mlps * mlp_entries(model)


def expert_capacity(model: ModelSpec, seq_len: int) -> int:
    """Return the capacity of one expert: tokens it takes of a sequence of `seq_len` tokens.

    Capacity = ⌈capacity_factor · n_active_experts · seq_len / n_experts⌉, at most `seq_len`.

    References:
        Switch Transformer, Fedus et al., arXiv:2101.03961, section 2.2, equation 3.
    """
    even = model.n_active_experts * seq_len / model.n_experts
    # Rounded first: in floating point 1.1 · 50 is a little more than 55 and would give a capacity of 56.
    return min(seq_len, math.ceil(round(model.capacity_factor * even, 9)))


def n_params_body(model: ModelSpec) -> int:
    """Return the parameters without embedding and head: Kaplan's N. Gains and all experts count.

    References:
        Kaplan et al., arXiv:2001.08361, section 2.1.
    """
    gains = 2 * model.d_model + (2 * model.head_dim if model.qk_norm else 0)
    gains += model.d_kv if model.key_shift else 0
    return model.n_layers * (n_matrices_layer(model, model.n_experts) + gains) + model.d_model


def n_params_matmul(model: ModelSpec) -> int:
    """Return the parameters in one token's matrix products: block matrices and head, tied or not.

    Of the experts only `n_active_experts` count, because a token uses no others. Gains and the embedding are
    no matrix products.
    """
    of_blocks = model.n_layers * n_matrices_layer(model, model.n_active_experts)
    return of_blocks + model.vocab_size * model.d_model


def n_params(model: ModelSpec) -> int:
    """Return all parameters: body with all experts, embedding and head, which are one matrix if tied.

    >>> model = ModelSpec(n_layers=2, d_model=64, n_heads=4, d_ff=256, vocab_size=512, seq_len=128,
    ...                   mlp="gelu", qk_norm=True, key_shift=False, rope_theta=1e4, norm_eps=1e-6)
    >>> n_params_body(model), n_params_matmul(model), n_params(model)
    (98688, 131072, 164224)
    """
    return n_params_body(model) + n_params_ends(model)


def n_params_ends(model: ModelSpec) -> int:
    """Return the parameters of embedding and head: two matrices, or one if they are tied."""
    return (1 if model.tied_embeddings else 2) * model.vocab_size * model.d_model


def layer_keys(model: ModelSpec) -> list[int]:
    """Return the keys that count for each query, by layer: those of the window, or the whole context."""
    windows = [model.window_of(layer) for layer in range(model.n_layers)]
    return [model.seq_len if window is None else min(window, model.seq_len) for window in windows]


def keys_computed(seq_len: int, window: int | None) -> int:
    """Return the keys that attention without a flash kernel multiplies each query with.

    The mask leaves out some. A short window is computed in blocks of its length, each with the block before.
    """
    return seq_len if window is None else min(seq_len, 2 * window)


def forward_flops_token(model: ModelSpec) -> int:
    """Return the matmul FLOPs of the forward pass, per token.

    2 FLOPs per matrix parameter, and 4·d_model per layer and key for attention scores and values. Every query
    counts all `seq_len` keys, or those of the layer's window, although the causal mask leaves half of them.
    With experts every token counts all its active experts; empty slots and dropped tokens change nothing.
    """
    attention = 4 * model.d_model * sum(layer_keys(model))
    return 2 * n_params_matmul(model) + attention


def train_flops_token(model: ModelSpec) -> int:
    """Return the training FLOPs per token: three times the forward pass.

    The backward pass has two matrix products for each of the forward pass, one per operand. The embedding
    look-up is free.
    """
    return 3 * forward_flops_token(model)


def train_flops(model: ModelSpec, n_tokens: int) -> float:
    """Return the exact training FLOPs of `n_tokens` tokens: column `flops`.

    >>> model = ModelSpec(n_layers=2, d_model=64, n_heads=4, d_ff=256, vocab_size=512, seq_len=128,
    ...                   mlp="gelu", qk_norm=True, key_shift=False, rope_theta=1e4, norm_eps=1e-6)
    >>> train_flops(model, 1_000_000) / train_flops_6nd(model, 1_000_000)  # attention adds a quarter
    1.25
    """
    return float(train_flops_token(model)) * n_tokens


def train_flops_6nd(model: ModelSpec, n_tokens: int) -> float:
    """Return the approximation 6·N·D with N = `n_params_matmul`: column `flops_6nd`.

    References:
        Kaplan et al., arXiv:2001.08361, section 2.1.
    """
    return 6.0 * n_params_matmul(model) * n_tokens


# By column of the tables.
COUNTERS: dict[str, Callable[[ModelSpec], int]] = {
    "n_params": n_params,
    "n_params_matmul": n_params_matmul,
    "n_params_body": n_params_body,
}
