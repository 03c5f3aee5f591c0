"""Hyper-parameter rules: from a model shape and the token counts of a grid to the recipe of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.config.settings import ModelSettings, OptimSettings
from harness.recipe.spec import GROUPS, GroupRates, ModelSpec, OptimSpec
from harness.records.errors import InputError

# Shape at which the rates of sweeps/optim are stated.
REFERENCE_D_MODEL = 64
REFERENCE_N_LAYERS = 3
REFERENCE_HEAD_DIM = 16
# Adam's rates against width in the maximal update parametrisation (arXiv:2203.03466, table 3).
MUP_EXPONENTS = {"hidden": -1.0, "embed": 0.0, "head": -1.0, "gain": 0.0}
MIN_STEPS = 500
MIN_COOLDOWN_STEPS = 100
MAX_VOCAB_FACTOR = 4


@dataclass(frozen=True)
class Rung:
    """One model size of a grid."""

    d_model: int
    n_layers: int

    @property
    def name(self) -> str:
        return f"d{self.d_model}"


def model_spec(rung: Rung, settings: ModelSettings, vocab_size: int, transfer: str = "measured") -> ModelSpec:
    """Shape of a rung at fixed head width; raises InputError when heads do not divide the width."""
    if rung.d_model % settings.head_dim or settings.head_dim % 2:
        raise InputError(
            f"rung {rung.name}: heads of even width dividing d_model were expected, got "
            f"model.head_dim={settings.head_dim} and d_model={rung.d_model}; choose a multiple of it"
        )
    return ModelSpec(
        n_layers=rung.n_layers,
        d_model=rung.d_model,
        n_heads=rung.d_model // settings.head_dim,
        d_ff=round(settings.mlp_ratio * rung.d_model),
        vocab_size=vocab_size,
        seq_len=settings.seq_len,
        mlp=settings.mlp,
        qk_norm=settings.qk_norm,
        key_shift=settings.key_shift,
        rope_theta=settings.rope_theta,
        norm_eps=settings.norm_eps,
        precision=settings.precision,
        **_model_transfer(rung, settings, transfer),
        **_experts(settings),
    )


def _experts(settings: ModelSettings) -> dict[str, Any]:
    """How experts are used; a dense model is the same whatever these settings say."""
    names = ("n_experts", "n_active_experts", "capacity_factor", "balance_weight", "router_z_weight")
    return {name: getattr(settings, name) for name in names} if settings.n_experts > 1 else {}


def _model_transfer(rung: Rung, settings: ModelSettings, transfer: str) -> dict[str, Any]:
    """What a transfer rule changes in the model; the reference shape stays as it is.

    `mup`: the initial head falls as 1/width, not 1/√width (with its rate, this is the same as an output
    multiplier 1/width), and attention scores as 1/head_dim, not 1/√head_dim. `completep`: also each block is
    scaled by 1/depth, with initial weights that do not depend on depth.

    References: Yang et al., arXiv:2203.03466, tables 3 and 8, definition 4.1; Dey et al., arXiv:2505.01618,
    table 1 with α = 1.
    """
    if transfer == "measured":
        return {}
    width, depth = _ratios(rung)
    changes = {
        "head_init_scale": width**-0.5,
        "attention_scale": REFERENCE_HEAD_DIM**0.5 / settings.head_dim,
    }
    return changes | ({"residual_scale": 1 / depth} if transfer == "completep" else {})


def _ratios(rung: Rung) -> tuple[float, float]:
    """Width and depth over those of the reference shape."""
    return rung.d_model / REFERENCE_D_MODEL, rung.n_layers / REFERENCE_N_LAYERS


def width_rate(base: float, exponent: float, d_model: int) -> float:
    """Rate of a group: base·(d_model / 64)^exponent."""
    return base * (d_model / REFERENCE_D_MODEL) ** exponent


def width_exponents(settings: OptimSettings) -> dict[str, float]:
    """Exponent in d_model of each group's rate: as set, or as the transfer rule has it.

    Muon's step has a spectral norm that fits every width (`harness.engine.optim`), so its rate is constant.
    """
    if settings.transfer == "measured":
        return settings.lr_exponent
    return MUP_EXPONENTS | ({"hidden": 0.0} if settings.name == "muon" else {})


def _eps(rung: Rung, settings: OptimSettings) -> float:
    """Adam's eps: gradients fall as 1/(width·depth) under CompleteP (arXiv:2505.01618, table 1)."""
    if settings.transfer != "completep":
        return settings.eps
    width, depth = _ratios(rung)
    return settings.eps / (width * depth)


def _hidden_weight_decay(rung: Rung, settings: OptimSettings) -> float | None:
    """Decay of hidden matrices that keeps rate × decay the same at every width; None without such a rule."""
    if settings.transfer == "measured" or settings.weight_decay == 0:
        return None
    return width_rate(settings.weight_decay, -width_exponents(settings)["hidden"], rung.d_model)


def optim_spec(rung: Rung, settings: OptimSettings, scale: dict[str, float]) -> OptimSpec:
    """Optimiser of a rung; `scale` multiplies the rate of a parameter group (learning-rate grids)."""

    exponents = width_exponents(settings)

    def rate(group: str) -> float:
        return width_rate(settings.lr[group], exponents[group], rung.d_model) * scale.get(group, 1.0)

    return OptimSpec(
        batch_size=settings.batch_size,
        lr=GroupRates(**{group: rate(group) for group in GROUPS}),
        beta1=settings.beta1,
        beta2=settings.beta2,
        eps=_eps(rung, settings),
        weight_decay=settings.weight_decay,
        grad_clip=settings.grad_clip,
        name=settings.name,
        hidden_weight_decay=_hidden_weight_decay(rung, settings),
    )


def warmup_steps(settings: OptimSettings, smallest_n_steps: int) -> int:
    """A fixed share of the grid's smallest run, so that no cell spends more than that on warm-up."""
    return max(1, round(settings.warmup_frac * smallest_n_steps))


def rule_breaks(n_steps: int, cooldown_frac: float, model: ModelSpec) -> list[str]:
    """Rules of a trustworthy cell that this one breaks, in words (empty when it keeps them)."""
    rules = {
        f"fewer than {MIN_STEPS} steps": n_steps < MIN_STEPS,
        f"fewer than {MIN_COOLDOWN_STEPS} cooldown steps": n_steps * cooldown_frac < MIN_COOLDOWN_STEPS,
        f"a vocabulary above {MAX_VOCAB_FACTOR}·layers·d_model": (
            model.vocab_size > MAX_VOCAB_FACTOR * model.n_layers * model.d_model
        ),
    }
    return [text for text, broken in rules.items() if broken]
