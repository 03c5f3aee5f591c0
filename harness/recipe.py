"""Hyper-parameter rules: from a model shape and the token counts of a grid to the recipe of a cell."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config import ModelSettings, OptimSettings
from harness.records import InputError
from harness.spec import ModelSpec, OptimSpec

# Width at which the rates of sweeps/optim are stated.
REFERENCE_D_MODEL = 64
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


def model_spec(rung: Rung, settings: ModelSettings, vocab_size: int) -> ModelSpec:
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
    )


def width_rate(base: float, exponent: float, d_model: int) -> float:
    """Rate of a group: base·(d_model / 64)^exponent."""
    return base * (d_model / REFERENCE_D_MODEL) ** exponent


def optim_spec(rung: Rung, settings: OptimSettings, scale: dict[str, float]) -> OptimSpec:
    """Optimiser of a rung; `scale` multiplies the rate of a parameter group (learning-rate grids)."""

    def rate(group: str) -> float:
        base = getattr(settings, f"{group}_lr")
        exponent = getattr(settings, f"{group}_lr_exponent")
        return width_rate(base, exponent, rung.d_model) * scale.get(group, 1.0)

    return OptimSpec(
        batch_size=settings.batch_size,
        hidden_lr=rate("hidden"),
        embed_lr=rate("embed"),
        head_lr=rate("head"),
        gain_lr=rate("gain"),
        beta1=settings.beta1,
        beta2=settings.beta2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        grad_clip=settings.grad_clip,
        name=settings.name,
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
