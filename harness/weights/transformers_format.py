"""A trained model in the names and layout of the library transformers, for shapes that it has a class for.

These are dense models with SwiGLU and without a key shift: Qwen3 with query-key norm, Llama without, and
Mistral if every layer has a window. Their
rotary pairs, gains and head order are those of `harness.model`, so every kernel is only transposed. Scales
that the library lacks are multiplied into a kernel or gain beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tokenizers as hf

from harness.model.decoder import tied_scale
from harness.recipe.spec import ModelSpec
from harness.records.errors import InputError
from harness.weights.kept import Kept, named

# Fields of a model, with the only values that the library's classes compute.
KNOWN = {"mlp": "swiglu", "key_shift": False, "n_experts": 1}


def check_known(model: ModelSpec) -> None:
    """Raise InputError for a model that the library has no class for."""
    for name, value in KNOWN.items():
        found = getattr(model, name)
        if found != value:
            raise InputError(
                f"the library transformers has no class for model.{name}={_typed(found)}, expected "
                f"{_typed(value)}; train with model.{name}={_typed(value)}, or export in our own format"
            )
    _check_windows(model)


def _check_windows(model: ModelSpec) -> None:
    if model.full_every is not None and not model.qk_norm:
        raise InputError(
            f"the library transformers has no class for model.full_every={model.full_every} without "
            "query-key norm, expected null; train with model.qk_norm=true, or export in our own format"
        )


def library_config(kept: Kept) -> dict[str, Any]:
    """Return config.json: the class of the library, and its settings."""
    model = kept.spec.model
    separator = None if kept.tokenizer is None else kept.tokenizer.separator
    windows = [model.window_of(layer) for layer in range(model.n_layers)]
    name, kind = ("LlamaForCausalLM", "llama") if model.window is None else ("MistralForCausalLM", "mistral")
    if model.qk_norm:
        name, kind = "Qwen3ForCausalLM", "qwen3"
    sliding = {
        "sliding_window": model.window,
        "use_sliding_window": True,
        "max_window_layers": 0,
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
    }
    return ({} if model.window is None else sliding) | {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": model.vocab_size,
        "hidden_size": model.d_model,
        "intermediate_size": model.d_ff,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.seq_len,
        "rms_norm_eps": model.norm_eps,
        # The first key is read by versions before 5, the second by those from 5 on.
        "rope_theta": model.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": model.tied_embeddings,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "pad_token_id": None,
        "torch_dtype": "float32",
    }


def library_tokenizer_config(kept: Kept, tokenizer: hf.Tokenizer) -> dict[str, Any]:
    """Return tokenizer_config.json, which names the class and the separator."""
    separator = None if kept.tokenizer is None else kept.tokenizer.separator
    name = None if separator is None else tokenizer.id_to_token(separator)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": name,
        "eos_token": name,
        "model_max_length": kept.spec.model.seq_len,
        "clean_up_tokenization_spaces": False,
    }


def library_arrays(kept: Kept) -> dict[str, np.ndarray]:
    """Return the parameters under the library's names, fp32, kernels as [out, in]."""
    model = kept.spec.model
    ours = dict(named(kept.params))
    gain = ours.pop("final_norm.gain")
    found = {"model.embed_tokens.weight": ours.pop("embed")}
    if model.tied_embeddings:
        gain = gain * tied_scale(model)
    else:
        found["lm_head.weight"] = ours.pop("head.kernel").T
    found["model.norm.weight"] = gain
    # The library scales scores by 1/√head_dim alone.
    scale = 1.0 if model.attention_scale is None else model.attention_scale * model.head_dim**0.5
    for layer in range(model.n_layers):
        block, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        kernels = ("q", "kv") if model.kv_heads < model.n_heads else ("qkv",)
        fused = [ours.pop(f"{block}attention.{name}.kernel") for name in kernels]
        query, key, value = (kernel[:, part].T for kernel in fused for part in range(kernel.shape[1]))
        parts = {
            "input_layernorm": ours.pop(f"{block}attention_norm.gain"),
            "post_attention_layernorm": ours.pop(f"{block}mlp_norm.gain"),
            "self_attn.k_proj": key,
            "self_attn.v_proj": value,
            "self_attn.o_proj": ours.pop(f"{block}attention.out.kernel").T * model.residual_scale,
            "mlp.gate_proj": ours.pop(f"{block}mlp.gate.kernel").T,
            "mlp.up_proj": ours.pop(f"{block}mlp.up.kernel").T,
            "mlp.down_proj": ours.pop(f"{block}mlp.down.kernel").T * model.residual_scale,
        }
        if model.qk_norm:
            # After the norm, which would undo a scale of the kernel.
            parts["self_attn.q_norm"] = ours.pop(f"{block}attention.q_norm.gain") * scale
            parts["self_attn.k_norm"] = ours.pop(f"{block}attention.k_norm.gain")
            parts["self_attn.q_proj"] = query
        else:
            parts["self_attn.q_proj"] = query * scale
        found |= {f"{theirs}{name}.weight": array for name, array in parts.items()}
    assert not ours, f"parameters without a name in the library: {', '.join(ours)}"
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def _typed(value: object) -> str:
    return str(value).lower()
