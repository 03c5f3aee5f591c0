"""Models under the names of the library transformers compute what they compute here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from harness import export
from harness.model.decoder import Decoder
from harness.recipe.spec import ModelSpec
from harness.weights.export import export as write_export
from harness.weights.kept import Card, Keep, named, nested, write_kept
from harness.weights.run import EXPORTED, TrainedRun, load_run
from harness.weights.tensor_file import read_tensors
from tests.fakes.trained import TOKENIZER
from tests.recipes import SEQ_LEN, model, run_spec

SHAPES = {
    "qwen3": model(vocab_size=257, mlp="swiglu", qk_norm=True, attention_scale=0.2, residual_scale=0.7),
    "llama": model(vocab_size=257, mlp="swiglu", attention_scale=0.5),
    "qwen3, windows": model(vocab_size=257, mlp="swiglu", qk_norm=True, window=5, full_every=2),
    "mistral": model(vocab_size=257, mlp="swiglu", window=5),
    "llama, shared and tied": model(
        vocab_size=257, mlp="swiglu", n_heads=4, n_kv_heads=2, tied_embeddings=True
    ),
}
IDS = np.random.default_rng(0).integers(0, 257, (2, SEQ_LEN))


def untrained(folder: Path, shape: ModelSpec) -> TrainedRun:
    """A model with initial parameters, gains drawn too, in an exported folder."""
    _, state = nnx.split(Decoder(shape, nnx.Rngs(0)))
    rng = np.random.default_rng(1)

    params = {
        name: np.asarray(leaf) * rng.uniform(0.5, 1.5, leaf.shape)
        for name, leaf in named(nnx.to_pure_dict(state))
    }
    spec = run_spec(model=shape)
    card = Card.of(spec, 1024, 1.0, 1.0, Keep(frozenset(), "fp32", TOKENIZER))
    write_kept(folder / EXPORTED, card, nested(params))
    return load_run(folder)


def theirs(folder: Path, ids: np.ndarray) -> np.ndarray:
    """Logits as the library's Llama and Qwen3 classes define them, in fp64."""
    arrays, _ = read_tensors(folder / EXPORTED)
    config = json.loads((folder / "config.json").read_text())
    w = {name.removeprefix("model."): array.astype(np.float64) for name, array in arrays.items()}
    n_heads, head_dim, eps = config["num_attention_heads"], config["head_dim"], config["rms_norm_eps"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    def heads(x: np.ndarray, name: str) -> np.ndarray:
        apart = (x @ w[f"{name}.weight"].T).reshape(*x.shape[:2], -1, head_dim)
        return np.repeat(apart, n_heads // apart.shape[2], axis=2)

    rates = config["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    angles = np.concatenate([np.outer(np.arange(ids.shape[1]), rates)] * 2, -1)[None, :, None, :]

    def turned(x: np.ndarray) -> np.ndarray:
        first, second = np.split(x, 2, -1)
        return x * np.cos(angles) + np.concatenate([-second, first], -1) * np.sin(angles)

    x = w["embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        own = f"layers.{layer}"
        y = norm(x, f"{own}.input_layernorm")
        q, k, v = (heads(y, f"{own}.self_attn.{part}_proj") for part in "qkv")
        if config["model_type"] == "qwen3":
            q, k = norm(q, f"{own}.self_attn.q_norm"), norm(k, f"{own}.self_attn.k_norm")
        scores = np.einsum("bqhd,bkhd->bhqk", turned(q), turned(k)) * head_dim**-0.5
        seen = np.tril(np.ones(scores.shape[-2:], bool))
        if config.get("layer_types", [""] * (layer + 1))[layer] == "sliding_attention":
            seen &= ~np.tril(seen, -config["sliding_window"])
        scores = np.where(seen, scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        mixed = np.einsum("bhqk,bkhd->bqhd", share, v).reshape(x.shape)
        x = x + mixed @ w[f"{own}.self_attn.o_proj.weight"].T
        y = norm(x, f"{own}.post_attention_layernorm")
        gate, up = (y @ w[f"{own}.mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{own}.mlp.down_proj.weight"].T
    head = "embed_tokens" if config["tie_word_embeddings"] else "lm_head"
    return norm(x, "norm") @ w[f"{head}.weight"].T


@pytest.mark.parametrize("kind", SHAPES)
def test_the_logits_are_those_of_the_classes_formulas(tmp_path: Path, kind: str) -> None:
    run = untrained(tmp_path / "ours", SHAPES[kind])
    write_export(tmp_path / "ours", None, tmp_path / "theirs", library=True)
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert config["model_type"] == kind.split(",")[0]
    np.testing.assert_allclose(theirs(tmp_path / "theirs", IDS), run.logits(IDS), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_library_loads_it_and_computes_the_same_logits(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch", reason="uv sync --extra transformers")
    transformers = pytest.importorskip("transformers", reason="uv sync --extra transformers")
    run = untrained(tmp_path / "ours", SHAPES[kind])
    target = tmp_path / "theirs"
    write_export(tmp_path / "ours", None, target, library=True)
    loaded, said = transformers.AutoModelForCausalLM.from_pretrained(target, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    with torch.no_grad():
        logits = loaded.eval()(torch.tensor(IDS)).logits.numpy()
    np.testing.assert_allclose(logits, run.logits(IDS), atol=1e-4, rtol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(target)
    text = "def µ(x):\n\treturn  1"
    ids = tokenizer(text)["input_ids"]
    assert ids == TOKENIZER.encode([text])[:-1].tolist()
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == TOKENIZER.separator


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key_shift": True}, "no class for model.key_shift=true, expected false; train with"),
        ({"mlp": "gelu"}, "no class for model.mlp=gelu, expected swiglu"),
        ({"window": 4, "full_every": 2}, "no class for model.full_every=2 without query-key norm, expected"),
        ({"n_experts": 2, "mlp": "swiglu"}, "no class for model.n_experts=2, expected 1"),
    ],
)
def test_other_models_are_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained(tmp_path / "ours", replace(SHAPES["llama"], **changes))
    given = [str(tmp_path / "ours"), "--to", str(tmp_path / "theirs"), "--format", "transformers"]
    assert export.main(given) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "theirs").exists()
