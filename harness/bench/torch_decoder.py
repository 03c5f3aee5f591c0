"""A PyTorch decoder of the same shape, timed on request in a process without JAX.

The first line of standard input is the recipe (`model`, `optim`, `device`, `variants`). The answer names the
variants that work and counts parameters. Each further line, `{"variant", "seconds"}`, is answered by
`{"tokens_per_second"}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Steps before a variant counts as ready; the compiled one compiles in the first.
WARM_UP_STEPS = 3


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate each pair of channels (x_i, x_{i+half}) by the angle of its position."""
    half = x.shape[-1] // 2
    return x * cosine + torch.cat([x[..., half:], x[..., :half]], dim=-1) * sine


class Norm(nn.Module):
    """RMSNorm with a learned gain."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.gain.shape, self.gain, self.eps)


class Attention(nn.Module):
    """Causal self-attention with PyTorch's fused kernel."""

    def __init__(self, model: dict[str, Any]):
        super().__init__()
        width, self.n_heads = model["d_model"], model["n_heads"]
        head_dim = width // self.n_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        qk_norm = model["qk_norm"]
        self.q_norm = Norm(head_dim, model["norm_eps"]) if qk_norm else None
        self.k_norm = Norm(head_dim, model["norm_eps"]) if qk_norm else None
        shares = torch.linspace(-2.0, 2.0, head_dim).repeat(self.n_heads, 1)
        self.key_shift = nn.Parameter(shares) if model["key_shift"] else None
        rates = model["rope_theta"] ** (-torch.arange(head_dim // 2) / (head_dim // 2))
        angles = torch.arange(model["seq_len"])[:, None] * rates
        self.register_buffer("cosine", torch.cat([angles.cos(), angles.cos()], dim=-1))
        self.register_buffer("sine", torch.cat([-angles.sin(), angles.sin()], dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.key_shift is not None:
            before = F.pad(k, (0, 0, 1, 0))[:, :, :-1]
            k = torch.lerp(k, before, self.key_shift.sigmoid()[:, None])
        q, k = rotate(q, self.cosine, self.sine), rotate(k, self.cosine, self.sine)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    """MLP with GELU or SwiGLU."""

    def __init__(self, model: dict[str, Any]):
        super().__init__()
        width, d_ff = model["d_model"], model["d_ff"]
        self.up = nn.Linear(width, d_ff, bias=False)
        self.gate = nn.Linear(width, d_ff, bias=False) if model["mlp"] == "swiglu" else None
        self.down = nn.Linear(d_ff, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(F.gelu(self.up(x), approximate="tanh"))
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Decoder(nn.Module):
    """Decoder-only Transformer: token windows to their mean next-token loss in nats."""

    def __init__(self, model: dict[str, Any]):
        super().__init__()
        width, vocab, eps = model["d_model"], model["vocab_size"], model["norm_eps"]
        layers = range(model["n_layers"])
        self.embed = nn.Embedding(vocab, width)
        self.attention_norms = nn.ModuleList(Norm(width, eps) for _ in layers)
        self.attentions = nn.ModuleList(Attention(model) for _ in layers)
        self.mlp_norms = nn.ModuleList(Norm(width, eps) for _ in layers)
        self.mlps = nn.ModuleList(Mlp(model) for _ in layers)
        self.final_norm = Norm(width, eps)
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, windows: Tensor) -> Tensor:
        x = self.embed(windows[:, :-1])
        blocks = zip(self.attention_norms, self.attentions, self.mlp_norms, self.mlps, strict=True)
        for attention_norm, attention, mlp_norm, mlp in blocks:
            x = x + attention(attention_norm(x))
            x = x + mlp(mlp_norm(x))
        logits = self.head(self.final_norm(x))
        return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def make_step(recipe: dict[str, Any], compiled: bool) -> tuple[Callable[[], None], int]:
    """Return a training step with clipping and fused AdamW, and the number of parameters."""
    model, optim, device = recipe["model"], recipe["optim"], recipe["device"]
    decoder = Decoder(model).to(device)
    parameters = list(decoder.parameters())
    adamw = torch.optim.AdamW(
        parameters, lr=optim["hidden_lr"], betas=(optim["beta1"], optim["beta2"]), eps=optim["eps"],
        weight_decay=optim["weight_decay"], fused=True,
    )  # fmt: skip
    shape = (optim["batch_size"], model["seq_len"] + 1)
    windows = torch.randint(model["vocab_size"], shape, device=device)
    loss_of = torch.compile(decoder) if compiled else decoder

    def step() -> None:
        adamw.zero_grad(set_to_none=True)
        loss_of(windows).backward()
        torch.nn.utils.clip_grad_norm_(parameters, optim["grad_clip"])
        adamw.step()

    return step, sum(parameter.numel() for parameter in parameters)


def rate(step: Callable[[], None], batch_tokens: int, seconds: float, device: str) -> float:
    """Return tokens per second of the steps that begin within `seconds`; clock as in `contestants.now`."""
    now = time.process_time if device == "cpu" else time.perf_counter
    start, n = now(), 0
    while n == 0 or now() - start < seconds:
        step()
        n += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return n * batch_tokens / (now() - start)


def prepare(recipe: dict[str, Any]) -> tuple[dict[str, Callable[[], None]], dict[str, Any]]:
    """Return the steps of the variants that run here, and the answer about all variants."""
    steps: dict[str, Callable[[], None]] = {}
    answer: dict[str, Any] = {"version": torch.__version__, "failed": {}}
    for variant in recipe["variants"]:
        try:
            step, answer["n_params"] = make_step(recipe, variant == "compiled")
            for _ in range(WARM_UP_STEPS):
                step()
            steps[variant] = step
        except Exception as error:  # Without a working compiler the eager variant still counts.
            answer["failed"][variant] = f"{type(error).__name__}: {error}".split("\n")[0]
    return steps, answer | {"variants": list(steps)}


def main() -> None:
    """Answer requests until standard input ends."""
    recipe = json.loads(sys.stdin.readline())
    if recipe["device"] == "cpu":
        torch.set_num_threads(1)
    else:
        # TF32, JAX's default for fp32 products on a GPU.
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    steps, answer = prepare(recipe)
    print(json.dumps(answer), flush=True)
    batch_tokens = recipe["optim"]["batch_size"] * recipe["model"]["seq_len"]
    for line in sys.stdin:
        wish = json.loads(line)
        speed = rate(steps[wish["variant"]], batch_tokens, wish["seconds"], recipe["device"])
        print(json.dumps({"tokens_per_second": speed}), flush=True)


if __name__ == "__main__":
    main()
