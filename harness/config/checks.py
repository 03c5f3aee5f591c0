"""Validation of settings: choices, ranges and combinations. It happens once, right after composition."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.execution.devices import EXAMPLES as DEVICE_EXAMPLES
from harness.execution.devices import Devices
from harness.execution.execution import ATTENTION, REMAT, MeshConfig, check_divides
from harness.recipe.spec import OPTIMISERS, PRECISIONS, SEPARATE_SCHEDULES, TRANSFERS, TRUNK_SCHEDULES
from harness.records.errors import InputError, near

if TYPE_CHECKING:
    from harness.config.schema import SweepSettings


LARGE = 1e30


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
        return low if self.high == math.inf else f"{low} and below {self.high:,.8g}"


LAUNCHERS = ("local", "ray", "slurm")
# Which end points keep their parameters (`harness.plan.kept`), and how these are stored.
KEEP, KEEP_PRECISIONS = ("auto", "none", "last", "points"), ("fp32", "bf16")
# Far beyond every use, and small enough that no product of settings overflows and no loop over one hangs.
TOKENS, SIZE, WORKERS = Range(1, 2**53), Range(1, 2**24), Range(1, 2**16)
NOT_NEGATIVE, POSITIVE, SHARE = Range(0, LARGE), Range(0, LARGE, above=True), Range(0, 1)
SEED = Range(0, 2**63)  # tables store seeds in 64 bits

RANGES = {
    TOKENS: (
        "data.eval_tokens data.curve_eval_tokens grid.n_tokens grid.extra.n_tokens grid.references.n_tokens "
        "grid.cells.n_tokens "
        "grid.ladder.n_params_body optim.reference_batch_tokens optim.reference_tokens "
        "optim.beta2_half_life optim.warmup_tokens"
    ),
    SIZE: (
        "model.n_layers model.head_dim model.seq_len model.n_experts model.n_active_experts "
        "model.n_kv_heads model.kv_group model.window model.full_every "
        "optim.batch_size grid.batch_sizes mesh.data mesh.fsdp mesh.tensor mesh.stage mesh.expert "
        "launcher.minutes execution.micro_batch grid.rungs grid.extra.d_model grid.references.d_model "
        "grid.extra.n_layers grid.cells.d_model grid.cells.n_layers "
        "grid.extra.n_heads grid.extra.n_kv_heads grid.cells.n_heads grid.cells.n_kv_heads "
        "grid.ladder.head_dim grid.ladder.shapes.d_model grid.ladder.shapes.n_layers "
        "grid.ladder.shapes.n_heads grid.ladder.shapes.n_kv_heads "
        "grid.log_interval grid.resamples"
    ),
    WORKERS: "launcher.n_workers launcher.pack launcher.max_attempts launcher.nodes launcher.cpus",
    SEED: (
        "grid.seeds grid.fit_seeds grid.extra.seeds grid.cells.seeds grid.references.seeds data.source_seed"
    ),
    NOT_NEGATIVE: (
        "optim.hidden_lr optim.embed_lr optim.head_lr optim.gain_lr optim.weight_decay "
        "model.balance_weight model.router_z_weight model.z_loss "
        "launcher.checkpoint_seconds launcher.signal_seconds launcher.gpus launcher.resources keep_gb"
    ),
    # Numbers of test problems, and of a synthetic source that another source leaves at 0.
    Range(0, 2**31): "data.task_items grid.task_items data.synthetic_tokens data.branching",
    Range(0, 16): "data.markov_order data.zipf",
    POSITIVE: (
        "data.max_epochs model.rope_theta model.norm_eps grid.ladder.aspect "
        "optim.eps optim.grad_clip grid.flops grid.max_flops grid.holdout_factor "
        "grid.lr_scale grid.references.lr_scale grid.tokens_per_param optim.decay_timescale "
        "plan.price_per_hour"
    ),
    Range(0, 2**10, above=True): "model.mlp_ratio model.capacity_factor",
    Range(-32, 32): (
        "optim.hidden_lr_exponent optim.embed_lr_exponent optim.head_lr_exponent optim.gain_lr_exponent "
        "optim.hidden_lr_depth_exponent optim.embed_lr_depth_exponent optim.head_lr_depth_exponent "
        "optim.gain_lr_depth_exponent optim.hidden_lr_batch_exponent optim.embed_lr_batch_exponent "
        "optim.head_lr_batch_exponent optim.gain_lr_batch_exponent optim.hidden_lr_tokens_exponent "
        "optim.embed_lr_tokens_exponent optim.head_lr_tokens_exponent optim.gain_lr_tokens_exponent "
        "optim.decay_timescale_exponent"
    ),
    Range(0, 2): "optim.batch_size_tokens_exponent",
    Range(0, 1, above=True): "plan.mfu",
    SHARE: (
        "data.eval_fraction optim.beta1 optim.beta2 optim.warmup_frac optim.cooldown_frac "
        "optim.final_lr_frac model.dropout"
    ),
}

# Of cells that a grid lists; cosine references and rates have lists of their own.
LISTED_ROLES = ("fit", "holdout")
SOURCE_KINDS = ("text", "tokens", "python")
TOKENIZERS = ("bpe", "bytes", "none")
LADDER_RULES = ("aspect", "width")
CHOICES: dict[str, tuple[str, ...]] = {
    "data.name": ("python", "text", "tokens", "mixture", "synthetic"),
    "model.mlp": ("gelu", "swiglu"),
    "model.precision": PRECISIONS,
    "grid.ladder.rule": LADDER_RULES,
    "optim.name": OPTIMISERS,
    "optim.transfer": TRANSFERS,
    "optim.schedule": TRUNK_SCHEDULES + SEPARATE_SCHEDULES,
    "execution.remat": REMAT,
    "execution.attention": ATTENTION,
    "launcher.name": LAUNCHERS,
    "keep": KEEP,
    "keep_precision": KEEP_PRECISIONS,
}


def check_choices(settings: SweepSettings) -> None:
    """Raise InputError for an unknown name, with the known ones, and for a grid that cannot name a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", settings.grid.name):
        raise InputError(
            f"grid.name={settings.grid.name} names tables and the folder of results; letters, digits, '-', "
            "'.' and '_' were expected"
        )
    for key, allowed in CHOICES.items():
        value = _inside(settings, key.split("."))
        if value is not None and value not in allowed:
            raise InputError(
                f"{key}={value} is not known; use one of {', '.join(allowed)}{near(value, list(allowed))}"
            )
    tokenizer = settings.data.tokenizer
    if tokenizer not in TOKENIZERS and not tokenizer.lower().endswith(".json"):
        raise InputError(
            f"data.tokenizer={tokenizer} is not known; use {', '.join(TOKENIZERS)} or the path of a "
            f"tokenizer.json{near(tokenizer, list(TOKENIZERS))}"
        )
    if tokenizer == "none" and settings.data.name not in ("tokens", "mixture"):
        raise InputError(f"data.tokenizer=none belongs to data=tokens; use bpe for {settings.data.name}")
    for cell in settings.grid.cells or []:
        if cell.role not in LISTED_ROLES:
            raise InputError(
                f"grid.cells has role={cell.role}, which is not known; use one of {', '.join(LISTED_ROLES)}"
                f"{near(cell.role, list(LISTED_ROLES))}"
            )
    for name, source in settings.data.sources.items():
        if source.kind is not None and source.kind not in SOURCE_KINDS:
            raise InputError(
                f"data.sources.{name}.kind={source.kind} is not known; use one of {', '.join(SOURCE_KINDS)}"
                f"{near(source.kind, list(SOURCE_KINDS))}"
            )


def check_ranges(settings: SweepSettings) -> None:
    """Raise InputError for a number outside its range, in the grid's budgets too."""
    for limits, keys in RANGES.items():
        for key in keys.split():
            for where, value in _values(settings, key):
                for number in _numbers(value):
                    if not limits.holds(number):
                        # A list shows the number that is wrong, the others may be many.
                        given = f"{where}={number}" if number == value else f"{number} in {where}"
                        raise InputError(f"{given} is out of range: {limits} was expected")


def _values(settings: SweepSettings, key: str) -> Iterator[tuple[str, Any]]:
    """Yield what a key holds, with its name; a key of the grid also in every budget."""
    section, *names = key.split(".")
    yield key, _inside(getattr(settings, section), names)
    for budget, cells in settings.grid.budgets.items() if section == "grid" else ():
        if hasattr(cells, names[0]):
            yield f"grid.budgets.{budget}.{'.'.join(names)}", _inside(cells, names)


def _inside(holder: Any, names: list[str]) -> Any:
    """Return a field of a dataclass, or of every dataclass of a list, as deep as `names` tell."""
    if not names or holder is None:
        return holder
    if isinstance(holder, list):
        return [_inside(entry, names) for entry in holder]
    return _inside(getattr(holder, names[0]), names[1:])


def _numbers(value: Any) -> Iterator[float]:
    """Yield all numbers in a value, its lists and its mappings."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _numbers(entry)
    elif value is not None:
        yield value


def check_together(settings: SweepSettings) -> None:
    """Raise InputError for settings that are valid alone but not together."""
    _check_schedule(settings)
    _check_rules(settings)
    _check_sources(settings)
    model = settings.model
    if model.n_active_experts > model.n_experts:
        raise InputError(
            f"model.n_active_experts={model.n_active_experts} of model.n_experts={model.n_experts} were "
            "asked for; lower the first, or raise the second (model=moe has 8)"
        )
    if model.n_kv_heads is not None and model.kv_group is not None:
        raise InputError(
            f"model.n_kv_heads={model.n_kv_heads} and model.kv_group={model.kv_group} both set the key-value "
            "heads, and one of them was expected; take out the first for a share of the heads at every rung"
        )
    if model.full_every is not None and model.window is None:
        raise InputError(
            f"model.full_every={model.full_every} exempts layers from a window and model.window is null; "
            f"give model.window={max(1, model.seq_len // 4)}, or leave the first out"
        )
    _check_auto_mesh(settings)
    # By the rule a batch is known only once there are cells; `check_mesh` sees it.
    if not settings.optim.batch_size_tokens_exponent:
        check_divides(settings.optim.batch_size, settings.mesh.sizes)
    _check_plan(settings)
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


def _check_sources(settings: SweepSettings) -> None:
    """Raise InputError for sources that are not mixed or read, and for a source without a token."""
    data = settings.data
    if data.sources and data.name != "mixture":
        raise InputError(
            f"data.sources are read by data=mixture alone, and data.name={data.name} was given; add "
            "data=mixture, or leave data.sources out"
        )
    if data.name == "synthetic" and data.synthetic_tokens < 1:
        raise InputError(
            f"data.synthetic_tokens={data.synthetic_tokens} leaves data=synthetic nothing to train on; "
            "use 1000000 or more"
        )
    for key, value in (("path", data.path), ("eval_path", data.eval_path), ("tasks", data.tasks or None)):
        if data.name == "mixture" and value is not None:
            raise InputError(
                f"data.{key} was given and data=mixture reads data.sources alone; leave it out"
                + ("" if key == "tasks" else f", or name it as data.sources.NAME.{key}")
            )


def _check_rules(settings: SweepSettings) -> None:
    """Raise InputError for rules that the schedule or the transfer rule leaves without meaning."""
    optim = settings.optim
    asked = next((group for group, power in optim.lr_tokens_exponent.items() if power), None)
    if asked and optim.schedule in TRUNK_SCHEDULES:
        raise InputError(
            f"optim.{asked}_lr_tokens_exponent={optim.lr_tokens_exponent[asked]:g} gives each D a rate of "
            f"its own, and the trunk of optim.schedule={optim.schedule} serves every D at one rate; use 0 "
            "or optim.schedule=cosine"
        )
    asked = next((group for group, power in optim.lr_depth_exponent.items() if power), None)
    if asked and optim.transfer == "completep":
        raise InputError(
            f"optim.{asked}_lr_depth_exponent={optim.lr_depth_exponent[asked]:g} came with "
            "optim.transfer=completep, which scales the blocks by depth itself; use 0, or "
            "optim.transfer=measured"
        )
    if optim.decay_timescale_exponent and optim.decay_timescale is None:
        raise InputError(
            f"optim.decay_timescale_exponent={optim.decay_timescale_exponent:g} is the power of a time scale "
            "and none is given; add optim.decay_timescale=1.084, or use 0"
        )


def _check_auto_mesh(settings: SweepSettings) -> None:
    """Raise InputError if the sizes of a mesh are to be chosen and are given too."""
    if settings.mesh.auto and settings.mesh.sizes != MeshConfig():
        raise InputError(
            f"mesh=auto chooses the sizes of the mesh and {settings.mesh.sizes} was given; leave one out"
        )


def _check_plan(settings: SweepSettings) -> None:
    """Raise InputError unless the planned devices are known and hold a whole number of meshes."""
    plan, mesh = settings.plan, settings.mesh.sizes
    if plan.device is None:
        for key, value in (("mfu", plan.mfu), ("price_per_hour", plan.price_per_hour)):
            if value is not None:
                raise InputError(
                    f"plan.{key}={value:g} concerns the devices of a plan and none are named; add "
                    f"plan.device={DEVICE_EXAMPLES.split(',')[0]}"
                )
        return
    devices = Devices.parse(plan.device)
    if plan.mfu is not None and devices.accelerator is None:
        raise InputError(
            f"plan.mfu={plan.mfu:g} is a share of a data sheet's peak, which plan.device={plan.device} has "
            "not: the speed of CPU cores is measured; leave plan.mfu out"
        )
    if devices.count % mesh.n_devices:
        whole = mesh.n_devices * max(1, round(devices.count / mesh.n_devices))
        raise InputError(
            f"{mesh} takes {mesh.n_devices} devices for a run, and the {devices.count} of "
            f"plan.device={plan.device} are no multiple of that; use mesh sizes whose product divides "
            f"{devices.count}, or plan.device={devices.name}:{whole}"
        )
