"""The complete recipe of one training trajectory, and its identity.

A `RunSpec` holds everything that decides the numbers of a run and nothing about where it runs: the same
recipe on other hardware is the same `run_id`. A constant-rate trunk does not depend on the token counts its
branches end at, so these are no part of `run_id`; each end point has a `point_id` of its own, and a trunk can
be extended to further points later.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from typing import Any

RECIPE_VERSION = 2
# Of activations and matrix products; parameters, optimiser, norms, softmax and loss are fp32 in any case.
PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMISERS = ("adamw", "muon", "schedule_free")
TRANSFERS = ("measured", "mup", "completep")
# Parameter groups, each with a learning rate of its own.
GROUPS = ("hidden", "embed", "head", "gain")
# Trunks with a branch to each token count: `wsd` cools it down, `constant` ends where the trunk stands.
TRUNK_SCHEDULES = ("wsd", "constant")
# A run of its own for each token count.
SEPARATE_SCHEDULES = ("cosine", "linear")


def added(default: Any, key: str | None = None) -> Any:
    """Declare a field that recipes did not always have.

    A field at its default is left out of the recipe's dict, so the identity of older recipes stays. `key` is
    the name in the dict if the field was renamed.
    """
    return field(default=default, metadata={"added": True, "key": key})


def stored_as(key: str) -> Any:
    """Declare a field that was renamed: the recipe's dict keeps the old `key`, and so its identity."""
    return field(metadata={"key": key})


def recipe_dict(spec: Any) -> dict[str, Any]:
    """Return a recipe as a nested dict: the content of spec.json, and what `run_id` is a hash of."""
    found: dict[str, Any] = {}
    kind: Any = type(spec)
    for name, key, is_added, default in _fields(kind):
        value = getattr(spec, name)
        if is_added and value == default:
            continue
        if isinstance(value, GroupRates):
            found |= value.to_dict()
        else:
            found[key] = recipe_dict(value) if is_dataclass(value) else value
    return found


@cache
def _fields(kind: Any) -> tuple[tuple[str, str, bool, Any], ...]:
    """Name of each field, its key in the dict, whether it was added, and its default."""
    return tuple(
        (item.name, item.metadata.get("key") or item.name, bool(item.metadata.get("added")), item.default)
        for item in fields(kind)
    )


def _from_stored(kind: Any, values: dict[str, Any]) -> Any:
    """Build a part of a recipe from its dict, whose keys may be older than the names of its fields."""
    names = {key: name for name, key, _, _ in _fields(kind)}
    return kind(**{names[key]: value for key, value in values.items()})


def content_id(value: Any, length: int = 12) -> str:
    """Hash of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class ModelSpec:
    """Shape of a decoder-only Transformer.

    `head_init_scale` multiplies the initial head, `residual_scale` what each block adds to the residual
    stream, `attention_scale` the scores of attention (None: 1/√head_dim): see `harness.grid.rules`.
    With several experts each has an MLP of width `d_ff`, and every token goes to `n_active_experts` of them;
    the rest of these fields says how: see `harness.model.moe`. With one they keep their defaults.
    """

    n_layers: int
    d_model: int
    n_heads: int
    d_ff: int
    vocab_size: int
    seq_len: int
    mlp: str
    qk_norm: bool
    key_shift: bool
    rope_theta: float
    norm_eps: float
    precision: str = added("fp32")
    head_init_scale: float = added(1.0)
    residual_scale: float = added(1.0)
    attention_scale: float | None = added(None)
    n_experts: int = added(1)
    n_active_experts: int = added(1)
    capacity_factor: float = added(1.25)
    balance_weight: float = added(0.01)
    router_z_weight: float = added(0.001)

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads


@dataclass(frozen=True)
class GroupRates:
    """Peak learning rate of each parameter group."""

    hidden: float
    embed: float
    head: float
    gain: float

    def to_dict(self) -> dict[str, float]:
        """Return the rates under the names of their settings and columns: `hidden_lr` and so on."""
        return {f"{group}_lr": rate for group, rate in asdict(self).items()}


NO_RATES = GroupRates(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class OptimSpec:
    """Optimiser with one peak learning rate per parameter group.

    `hidden_weight_decay` is the decay of hidden matrices where it differs from `weight_decay`.
    """

    batch_size: int
    lr: GroupRates
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    grad_clip: float
    name: str = added("adamw")
    hidden_weight_decay: float | None = added(None)

    @property
    def compiled(self) -> OptimSpec:
        """The part that is compiled into a step: all except the rates, which the step takes as inputs."""
        return replace(self, lr=NO_RATES)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> OptimSpec:
        """Build from the dict of `recipe_dict`."""
        rates = {group: values[f"{group}_lr"] for group in GROUPS}
        rest = {key: value for key, value in values.items() if key.removesuffix("_lr") not in GROUPS}
        return cls(lr=GroupRates(**rates), **rest)


@dataclass(frozen=True)
class ScheduleSpec:
    """Warm-up, then a constant rate with branches, or one fall to a fixed end after `n_steps`.

    `kind`: `wsd` (branches cool down), `constant` (branches of no steps: schedule-free averages are scored),
    `cosine`, `linear`.
    """

    kind: str
    warmup_steps: int
    cooldown_frac: float
    final_lr_frac: float
    n_steps: int | None = None

    @property
    def has_trunk(self) -> bool:
        """Whether one trajectory serves several token counts."""
        return self.kind in TRUNK_SCHEDULES


@dataclass(frozen=True)
class DataSpec:
    """Corpus of a run and size of its evaluation set, in tokens.

    `unigram_nats` is the loss of a unigram model in nats per token. `task_items` is the number of test
    problems for every task and length that a finished point is scored on.
    """

    corpus_id: str
    tokenizer_id: str
    unigram_nats: float
    eval_tokens: int = stored_as("n_eval_tokens")
    curve_eval_tokens: int = stored_as("n_curve_eval_tokens")
    task_items: int = added(0, key="n_task_items")


@dataclass(frozen=True)
class RunSpec:
    """One trajectory: a trunk with its cooldown branches, or one cosine or linear run."""

    rung: str
    model: ModelSpec
    optim: OptimSpec
    schedule: ScheduleSpec
    data: DataSpec
    seed: int
    log_interval: int
    recipe_version: int = RECIPE_VERSION

    @cached_property
    def run_id(self) -> str:
        return content_id(recipe_dict(self))

    @property
    def batch_tokens(self) -> int:
        return self.optim.batch_size * self.model.seq_len

    def n_steps(self, n_tokens: int) -> int:
        return n_tokens // self.batch_tokens

    def point_id(self, n_tokens: int) -> str:
        return content_id([self.run_id, n_tokens])

    def to_dict(self) -> dict[str, Any]:
        return recipe_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunSpec:
        parts = dict(
            values,
            model=ModelSpec(**values["model"]),
            optim=OptimSpec.from_dict(values["optim"]),
            schedule=ScheduleSpec(**values["schedule"]),
            data=_from_stored(DataSpec, values["data"]),
        )
        return cls(**parts)


@dataclass(frozen=True)
class Job:
    """A trajectory and the token counts at which it must yield finished points."""

    spec: RunSpec
    n_tokens: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"spec": self.spec.to_dict(), "n_tokens": list(self.n_tokens)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Job:
        return cls(RunSpec.from_dict(values["spec"]), tuple(values["n_tokens"]))


# One or several jobs of one compiled shape that are trained together as one program; nearly always one job.
Pack = tuple[Job, ...]
