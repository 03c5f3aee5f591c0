"""Validation of settings: choices, ranges and combinations. It happens once, right after composition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.execution.execution import ATTENTION, REMAT, MeshConfig, check_divides
from harness.recipe.spec import OPTIMISERS, PRECISIONS, SEPARATE_SCHEDULES, TRANSFERS, TRUNK_SCHEDULES
from harness.records.errors import InputError, near

if TYPE_CHECKING:
    from harness.config.settings import SweepSettings


@dataclass(frozen=True)
class Range:
    """Half-open range of a number.

    Attributes:
        low: lower end.
        high: upper end, which is outside.
        above: whether the lower end is outside too.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        """Return whether the value lies in the range."""
        return (value > self.low if self.above else value >= self.low) and value < self.high

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        return low if self.high == math.inf else f"{low} and below {self.high:g}"


LAUNCHERS = ("local", "ray", "slurm")
COUNT, NOT_NEGATIVE, POSITIVE, SHARE = Range(1), Range(0), Range(0, above=True), Range(0, 1)

RANGES = {
    COUNT: (
        "data.eval_tokens data.curve_eval_tokens model.n_layers model.head_dim model.seq_len "
        "model.n_experts model.n_active_experts "
        "optim.batch_size mesh.data mesh.fsdp mesh.tensor mesh.stage mesh.expert "
        "launcher.n_workers launcher.pack launcher.max_attempts launcher.minutes launcher.nodes "
        "launcher.cpus execution.micro_batch "
        "grid.rungs grid.n_tokens grid.log_interval grid.resamples"
    ),
    NOT_NEGATIVE: (
        "optim.hidden_lr optim.embed_lr optim.head_lr optim.gain_lr optim.weight_decay grid.seeds "
        "model.balance_weight model.router_z_weight "
        "launcher.checkpoint_seconds launcher.signal_seconds launcher.gpus data.task_items grid.task_items"
    ),
    POSITIVE: (
        "data.max_epochs model.mlp_ratio model.rope_theta model.norm_eps model.capacity_factor "
        "optim.eps optim.grad_clip grid.flops grid.max_flops grid.holdout_factor"
    ),
    SHARE: "optim.beta1 optim.beta2 optim.warmup_frac optim.cooldown_frac optim.final_lr_frac",
}

CHOICES: dict[str, tuple[str, ...]] = {
    "data.name": ("python", "text", "synthetic"),
    "data.tokenizer": ("bpe", "bytes"),
    "model.mlp": ("gelu", "swiglu"),
    "model.precision": PRECISIONS,
    "optim.name": OPTIMISERS,
    "optim.transfer": TRANSFERS,
    "optim.schedule": TRUNK_SCHEDULES + SEPARATE_SCHEDULES,
    "execution.remat": REMAT,
    "execution.attention": ATTENTION,
    "launcher.name": LAUNCHERS,
}


def check_choices(settings: SweepSettings) -> None:
    """Raise InputError for an unknown name, with the known ones."""
    for key, allowed in CHOICES.items():
        section, name = key.split(".")
        value = getattr(getattr(settings, section), name)
        if value is not None and value not in allowed:
            raise InputError(
                f"{key}={value} is not known; use one of {', '.join(allowed)}{near(value, list(allowed))}"
            )


def check_ranges(settings: SweepSettings) -> None:
    """Raise InputError for a number outside its range."""
    for limits, keys in RANGES.items():
        for key in keys.split():
            section, name = key.split(".")
            value: Any = getattr(getattr(settings, section), name)
            numbers = value if isinstance(value, list) else [] if value is None else [value]
            if not all(limits.holds(number) for number in numbers):
                raise InputError(f"{key}={value} is out of range: {limits} was expected")


def check_together(settings: SweepSettings) -> None:
    """Raise InputError for settings that are valid alone but not together."""
    _check_schedule(settings)
    model = settings.model
    if model.n_active_experts > model.n_experts:
        raise InputError(
            f"model.n_active_experts={model.n_active_experts} of model.n_experts={model.n_experts} were "
            "asked for; lower the first, or raise the second (model=moe has 8)"
        )
    check_divides(settings.optim.batch_size, MeshConfig(**vars(settings.mesh)))
    # Otherwise every run would fail at its first evaluation, after it has trained.
    data, seq_len = settings.data, settings.model.seq_len
    for key, value in (("eval_tokens", data.eval_tokens), ("curve_eval_tokens", data.curve_eval_tokens)):
        if value < seq_len:
            raise InputError(
                f"data.{key}={value} is less than one window of model.seq_len={seq_len} tokens, so nothing "
                f"can be scored; use at least {seq_len}"
            )
    if data.curve_eval_tokens > data.eval_tokens:
        raise InputError(
            f"data.curve_eval_tokens={data.curve_eval_tokens} is a part of "
            f"data.eval_tokens={data.eval_tokens} and cannot be larger; lower the first or raise the second"
        )


def check_budget(settings: SweepSettings, default: str) -> None:
    """Raise InputError for a budget that the grid lacks; a grid without budgets takes only the default."""
    budgets = sorted(settings.grid.budgets)
    if not budgets and settings.budget != default:
        raise InputError(
            f"budget={settings.budget} was given and grid {settings.grid.name} has no budgets; leave it out"
        )
    if budgets and settings.budget not in budgets:
        raise InputError(
            f"budget={settings.budget} is not known for grid {settings.grid.name}; use one of "
            f"{', '.join(budgets)}{near(settings.budget, budgets)}"
        )


def _check_schedule(settings: SweepSettings) -> None:
    """Raise InputError unless schedule-free runs, and only they, have a constant learning rate.

    Their average of the weights replaces the cooldown of other schedules.
    """
    optim = settings.optim
    averaged, constant = optim.name == "schedule_free", optim.schedule == "constant"
    if averaged and not constant:
        raise InputError(
            f"optim.name=schedule_free was expected with optim.schedule=constant and came with "
            f"optim.schedule={optim.schedule}; type optim=schedule_free, which sets both"
        )
    if constant and not averaged:
        raise InputError(
            f"optim.schedule=constant leaves the end points of optim.name={optim.name} uncooled, and only "
            "cooled ones are fitted; use optim.schedule=wsd, or optim=schedule_free, which averages instead"
        )
    if averaged and optim.beta1 == 0:
        raise InputError("optim.beta1=0 gives no average to score with optim.name=schedule_free; use 0.9")
