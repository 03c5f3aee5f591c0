"""Hyper-parameter rules: from a rung and the token counts of a grid to the recipe of a cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.config.schema import ExtraCells, ModelSettings, OptimSettings, Shape
from harness.grid import token_rules
from harness.grid.token_rules import RunTokens
from harness.grid.width_rates import (
    REFERENCE_D_MODEL,
    REFERENCE_N_LAYERS,
    depth_factor,
    width_exponents,
    width_rate,
)
from harness.recipe.spec import GROUPS, GroupRates, ModelSpec, OptimSpec
from harness.records.errors import InputError

REFERENCE_HEAD_DIM = 16
# The plan notes cells beyond these limits: their losses reflect few steps or large embeddings more than
# scale. With a vocabulary of 4·layers·d_model, embedding and head have two thirds as many parameters as the
# blocks (12·layers·d_model² at mlp_ratio 4).
MIN_STEPS = 500
MIN_COOLDOWN_STEPS = 100
MAX_VOCAB_FACTOR = 4
# Largest power of two to whose multiple an MLP is rounded, and by which share at most.
LARGEST_TILE, TILE_CHANGE = 128, 0.02


@dataclass(frozen=True)
class Rung:
    """A model size of a grid: width, depth and heads.

    Attributes:
        d_model: width.
        n_layers: depth.
        usual_layers: depth of model.n_layers, which names do not mention; None for `n_layers`.
        n_heads: query heads; None for heads of the width model.head_dim.
        n_kv_heads: heads of keys and values; None follows the model settings.
    """

    d_model: int
    n_layers: int
    usual_layers: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None

    @classmethod
    def of(cls, shape: Shape | ExtraCells, settings: ModelSettings) -> Rung:
        """Return the rung of a shape; heads that the settings give anyway are left to them."""
        depth, n_heads, n_kv_heads = shape.n_layers or settings.n_layers, shape.n_heads, shape.n_kv_heads
        if n_heads is not None and n_heads * settings.head_dim == shape.d_model:
            n_heads = None
        usual = _usual_kv_heads(n_heads or shape.d_model // settings.head_dim, settings)
        return cls(
            shape.d_model, depth, settings.n_layers, n_heads, None if n_kv_heads == usual else n_kv_heads
        )

    @classmethod
    def of_model(cls, model: ModelSpec, settings: ModelSettings) -> Rung:
        """Return the rung that a model was made of under these settings."""
        return cls.of(Shape(model.d_model, model.n_layers, model.n_heads, model.kv_heads), settings)

    @property
    def name(self) -> str:
        """Name of the rung in tables: `d` and the width, then depth, heads and key heads that are its own.

        >>> Rung(64, 3).name, Rung(64, 6, usual_layers=3).name, Rung(64, 3, n_heads=8, n_kv_heads=2).name
        ('d64', 'd64l6', 'd64h8k2')
        """
        depth = None if self.usual_layers in (None, self.n_layers) else self.n_layers
        parts = {"d": self.d_model, "l": depth, "h": self.n_heads, "k": self.n_kv_heads}
        return "".join(f"{letter}{number}" for letter, number in parts.items() if number is not None)


def model_spec(rung: Rung, settings: ModelSettings, vocab_size: int, transfer: str = "measured") -> ModelSpec:
    """Return the model of a rung: heads of fixed width unless it has its own, and an MLP by `mlp_width`.

    Args:
        rung: width, depth and heads.
        settings: fields that all rungs share.
        vocab_size: number of token ids, the separator included.
        transfer: `measured`, `mup` or `completep`, see `_model_transfer`.

    Raises:
        InputError: heads are of odd width or do not divide the model's, or the key-value heads do not divide
            the heads.
    """
    n_heads = _heads(rung, settings)
    return ModelSpec(
        n_layers=rung.n_layers,
        d_model=rung.d_model,
        n_heads=n_heads,
        d_ff=mlp_width(rung.d_model, settings),
        vocab_size=vocab_size,
        seq_len=settings.seq_len,
        mlp=settings.mlp,
        qk_norm=settings.qk_norm,
        key_shift=settings.key_shift,
        rope_theta=settings.rope_theta,
        norm_eps=settings.norm_eps,
        precision=settings.precision,
        n_kv_heads=_kv_heads(rung, n_heads, settings),
        tied_embeddings=settings.tied_embeddings,
        dropout=settings.dropout,
        z_loss=settings.z_loss,
        **_windows(rung, settings),
        **_model_transfer(rung, rung.d_model // n_heads, transfer),
        **_experts(settings),
    )


def mlp_width(d_model: int, settings: ModelSettings) -> int:
    """Return d_ff: mlp_ratio · d_model, or without a ratio as many parameters as 4 · d_model has with GELU.

    For the three matrices of SwiGLU that is 8/3 · d_model. Matrix units work on tiles, so it is rounded to a
    multiple of the largest power of two that changes it by 2 % at most.

    References:
        8/3: Shazeer, arXiv:2002.05202, section 3.1.
    """
    if settings.mlp_ratio is not None:
        return round(settings.mlp_ratio * d_model)
    if settings.mlp == "gelu":
        return 4 * d_model
    exact = 8 * d_model / 3
    tiles = (2**power for power in range(LARGEST_TILE.bit_length() - 1, -1, -1))
    widths = (round(exact / tile) * tile for tile in tiles)
    return next((width for width in widths if abs(width / exact - 1) <= TILE_CHANGE), round(exact))


def mlp_notes(models: Iterable[ModelSpec], settings: ModelSettings) -> list[str]:
    """Return a sentence with the widths that a missing mlp_ratio gave to the MLPs of SwiGLU."""
    if settings.mlp_ratio is not None or settings.mlp == "gelu":
        return []
    found = sorted({(model.d_model, model.d_ff) for model in models})
    widths = ", ".join(f"{d_ff} at {d_model}" for d_model, d_ff in found)
    return [f"model.mlp_ratio=null gives SwiGLU the parameters of GELU at ratio 4: d_ff is {widths}"]


def _heads(rung: Rung, settings: ModelSettings) -> int:
    """Return the query heads of a rung, of even width as rotary angles need."""
    width, given = rung.d_model, rung.n_heads
    if given is None:
        if width % settings.head_dim or settings.head_dim % 2:
            raise InputError(
                f"rung {rung.name}: heads of even width dividing d_model were expected, got "
                f"model.head_dim={settings.head_dim} and d_model={width}; choose a multiple of it"
            )
        return width // settings.head_dim
    if width % (2 * given):
        fitting = [n for n in range(1, width // 2 + 1) if width % (2 * n) == 0]
        near = f"n_heads={min(fitting, key=lambda n: (abs(n - given), n))} or " if fitting else ""
        raise InputError(
            f"rung {rung.name} has n_heads={given} and d_model={width}, and heads of even width that divide "
            f"d_model were expected; type {near}d_model={2 * given * max(1, round(width / (2 * given)))}"
        )
    return given


def _usual_kv_heads(n_heads: int, settings: ModelSettings) -> int:
    """Return the key-value heads that the settings give to a rung of so many heads."""
    if settings.n_kv_heads is not None:
        return settings.n_kv_heads
    return n_heads // settings.kv_group if settings.kv_group else n_heads


def _kv_heads(rung: Rung, n_heads: int, settings: ModelSettings) -> int | None:
    """Return the key-value heads of a rung; None if every head has its own, whatever setting says so."""
    own = rung.n_kv_heads
    if own is not None:
        if n_heads % own:
            fitting = [n for n in range(1, n_heads + 1) if n_heads % n == 0]
            raise InputError(
                f"rung {rung.name} has n_heads={n_heads} and n_kv_heads={own}, and key-value heads that "
                f"divide the heads were expected; type n_kv_heads={min(fitting, key=lambda n: abs(n - own))}"
            )
        return None if own == n_heads else own
    key = "n_kv_heads" if settings.kv_group is None else "kv_group"
    given = getattr(settings, key)
    if given is None:
        return None
    if n_heads % given:
        fitting = [n for n in range(1, given) if n_heads % n == 0]
        raise InputError(
            f"rung {rung.name} has n_heads={n_heads}, a multiple of model.{key}={given} was expected; use "
            f"model.{key}={max(fitting)}, or widths that are multiples of {given * (rung.d_model // n_heads)}"
        )
    found: int = given if key == "n_kv_heads" else n_heads // given
    return None if found == n_heads else found


def _windows(rung: Rung, settings: ModelSettings) -> dict[str, Any]:
    """Return the fields of windows, if any layer has one that is shorter than the context."""
    if settings.window is None or settings.window >= settings.seq_len or settings.full_every == 1:
        return {}
    every = settings.full_every
    # A rung of fewer layers has no full one.
    return {"window": settings.window, "full_every": None if every and every > rung.n_layers else every}


def _experts(settings: ModelSettings) -> dict[str, Any]:
    """Return the fields of a mixture of experts; a dense model's identity does not depend on them."""
    names = ("n_experts", "n_active_experts", "capacity_factor", "balance_weight", "router_z_weight")
    return {name: getattr(settings, name) for name in names} if settings.n_experts > 1 else {}


def _model_transfer(rung: Rung, head_dim: int, transfer: str) -> dict[str, Any]:
    """Return the model fields that a transfer rule sets; the reference shape computes the same without it.

    `mup`: initial head weights fall as 1/width instead of 1/√width. Together with the head's rate, this
    equals an output multiplier of 1/width. Attention scores are scaled by 1/head_dim instead of 1/√head_dim.

    `completep`: as `mup`, and the output of each block is scaled by 1/depth, with initial weights that do not
    depend on depth.

    References: Yang et al., arXiv:2203.03466, tables 3 and 8, definition 4.1; Dey et al., arXiv:2505.01618,
    table 1 with α = 1.
    """
    if transfer == "measured":
        return {}
    width, depth = _ratios(rung)
    changes = {
        "head_init_scale": width**-0.5,
        "attention_scale": REFERENCE_HEAD_DIM**0.5 / head_dim,
    }
    return changes | ({"residual_scale": 1 / depth} if transfer == "completep" else {})


def _ratios(rung: Rung) -> tuple[float, float]:
    """Return width and depth relative to the reference shape."""
    return rung.d_model / REFERENCE_D_MODEL, rung.n_layers / REFERENCE_N_LAYERS


def _eps(rung: Rung, settings: OptimSettings) -> float:
    """Return Adam's eps: CompleteP gradients fall as 1/(width · depth) (arXiv:2505.01618, table 1)."""
    if settings.transfer != "completep":
        return settings.eps
    width, depth = _ratios(rung)
    return settings.eps / (width * depth)


def _hidden_weight_decay(rung: Rung, settings: OptimSettings) -> float | None:
    """Return the weight decay of hidden matrices that keeps rate × decay the same at every width.

    The result is None if the hidden matrices share the decay of all parameters.
    """
    if settings.transfer == "measured" or settings.weight_decay == 0:
        return None
    return width_rate(settings.weight_decay, -width_exponents(settings)["hidden"], rung.d_model)


def optim_spec(
    rung: Rung, settings: OptimSettings, scale: dict[str, float], run: RunTokens | None = None
) -> OptimSpec:
    """Return the optimiser of a rung.

    Args:
        rung: width and depth.
        settings: optimiser settings, with rates at the reference width, depth, batch and D.
        scale: factors on learning rates by parameter group, 1 for a missing group.
        run: token counts of the run; None leaves out the rules in tokens.
    """
    exponents = width_exponents(settings)

    def rate(group: str) -> float:
        base = width_rate(settings.lr[group], exponents[group], rung.d_model)
        base *= depth_factor(settings, group, rung.n_layers)
        return base if run is None else base * token_rules.rate_factor(settings, group, run)

    rates = {group: rate(group) for group in GROUPS}
    decay = None if run is None else token_rules.hidden_weight_decay(settings, rates["hidden"], run)
    return OptimSpec(
        batch_size=settings.batch_size if run is None else run.batch_size,
        lr=GroupRates(**{group: rates[group] * scale.get(group, 1.0) for group in GROUPS}),
        beta1=settings.beta1,
        beta2=settings.beta2 if run is None else token_rules.beta2(settings, run),
        eps=_eps(rung, settings),
        weight_decay=settings.weight_decay,
        grad_clip=settings.grad_clip,
        name=settings.name,
        # A grid of learning rates moves the rates alone, so the decay is that of the unscaled rate.
        hidden_weight_decay=_hidden_weight_decay(rung, settings) if decay is None else decay,
    )


def rule_breaks(n_steps: int, cooldown_frac: float, model: ModelSpec) -> list[str]:
    """Return the rules of a trustworthy cell that a cell breaks, in words; empty if it keeps them all.

    Args:
        n_steps: optimiser steps to the end point.
        cooldown_frac: share of these steps in which the learning rate falls.
        model: shape of the model.
    """
    rules = {
        f"fewer than {MIN_STEPS} steps": n_steps < MIN_STEPS,
        f"fewer than {MIN_COOLDOWN_STEPS} cooldown steps": n_steps * cooldown_frac < MIN_COOLDOWN_STEPS,
        f"a vocabulary above {MAX_VOCAB_FACTOR}·layers·d_model": model.vocab_size > vocab_limit(model),
    }
    return [text for text, broken in rules.items() if broken]


def vocab_limit(model: ModelSpec) -> int:
    """Return the largest vocabulary of a trustworthy cell, see MAX_VOCAB_FACTOR."""
    return MAX_VOCAB_FACTOR * model.n_layers * model.d_model
