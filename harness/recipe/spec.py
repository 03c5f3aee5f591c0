"""The recipe of one training run.

A `RunSpec` holds everything that decides the numbers of a run and nothing about where it runs. The same
recipe on other hardware has the same `run_id`. The trunk of a run does not depend on the token counts at
which its branches end. So these are no part of `run_id`: each end point has a `point_id` of its own, and
later sweeps can add end points to a trunk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from harness.recipe.run_id import MERGED, added, content_id, from_stored, recipe_dict, stored_as

RECIPE_VERSION = 2
# Precision of activations and matrix products. Parameters, optimiser state, norms, softmax and loss are
# always fp32: bf16 has only every 64th of a nat between 2 and 4 nats, about as much as seeds differ.
PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMISERS = ("adamw", "muon", "schedule_free")
TRANSFERS = ("measured", "mup", "completep")
# Parameter groups; each has its own learning rate.
GROUPS = ("hidden", "embed", "head", "gain")
# Schedules with a constant-rate trunk and a branch to each token count. The branches of `wsd` (warm-up,
# stable, decay) cool down; those of `constant` have no steps.
TRUNK_SCHEDULES = ("wsd", "constant")
# Schedules that need a separate run for each token count.
SEPARATE_SCHEDULES = ("cosine", "linear")


@dataclass(frozen=True)
class ModelSpec:
    """Shape and precision of a decoder-only Transformer.

    Attributes:
        n_layers: Transformer blocks.
        d_model: Width of the residual stream.
        n_heads: Attention heads of width d_model / n_heads.
        d_ff: Width of the MLP; of each expert's MLP in a mixture of experts.
        vocab_size: Tokens of the vocabulary.
        seq_len: Tokens per sequence: the context.
        mlp: `gelu` or `swiglu`.
        qk_norm: Whether queries and keys are normalised in each head.
        key_shift: Whether each key is mixed with the key before it (`harness.model.layers.KeyShift`).
        rope_theta: Base of the rotary angles.
        norm_eps: Added to the mean square in RMSNorm.
        precision: `fp32`, `bf16` or `fp16`, of activations and matrix products.
        head_init_scale: Multiplies the initial head (`harness.grid.rules`).
        residual_scale: Multiplies what each block adds to the residual stream (`harness.grid.rules`).
        attention_scale: Multiplies the attention scores; None is 1/√head_dim.
        n_experts: Experts per layer; with 1 the model is dense, and the fields below keep their defaults.
        n_active_experts: Experts that each token is routed to.
        capacity_factor: Capacity of an expert over its even share of tokens.
        balance_weight: Weight of the load-balancing loss.
        router_z_weight: Weight of the router z-loss.
        n_kv_heads: Key-value heads, each shared by as many query heads; None is one for every query head.
        tied_embeddings: Whether embedding and head share one matrix, which is in the group `embed`.
        window: Keys that a query attends to, its own included; None is all up to its own.
        full_every: Of so many layers the last attends to all keys; None gives every layer the window.
        dropout: Share of the embedding and of each block's outputs that is dropped in training.
        z_loss: Weight of the mean square of log Σ exp(logits), in training alone.
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
    n_kv_heads: int | None = added(None)
    tied_embeddings: bool = added(False)
    window: int | None = added(None)
    full_every: int | None = added(None)
    dropout: float = added(0.0)
    z_loss: float = added(0.0)

    @property
    def kv_heads(self) -> int:
        """Number of key-value heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def d_kv(self) -> int:
        """Width of the keys, and of the values, of all heads."""
        return self.kv_heads * self.head_dim

    @property
    def window_period(self) -> int:
        """Number of layers after which windows repeat."""
        return 1 if self.window is None or self.full_every is None else self.full_every

    def window_of(self, layer: int) -> int | None:
        """Return the keys that a query of a layer attends to, counted from 0; None is all up to its own."""
        full = self.full_every is not None and (layer + 1) % self.full_every == 0
        return None if full else self.window

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads


@dataclass(frozen=True)
class GroupRates:
    """Peak learning rate of each parameter group.

    Attributes:
        hidden: Matrices of the blocks.
        embed: Embedding, and a head tied to it.
        head: Head, unless it is tied.
        gain: Norm gains and key-shift shares.
    """

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

    Attributes:
        batch_size: Sequences per step.
        lr: Peak learning rate of each parameter group.
        beta1: Decay of Adam's first moment; interpolation weight of schedule-free AdamW.
        beta2: Decay of Adam's second moment.
        eps: Added to the root of Adam's second moment.
        weight_decay: Decoupled weight decay; each step multiplies it by the learning rate.
        grad_clip: Largest global norm of the gradient.
        name: `adamw`, `muon` or `schedule_free`.
        hidden_weight_decay: Weight decay of the blocks' matrices; None is `weight_decay`.
    """

    batch_size: int
    lr: GroupRates = field(metadata=MERGED)
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    grad_clip: float
    name: str = added("adamw")
    hidden_weight_decay: float | None = added(None)

    @property
    def compiled(self) -> OptimSpec:
        """The fields that are constants of a compiled step; learning rates, its inputs, are set to 0.

        Specs that differ in rates alone are equal here, so they share one compiled program.
        """
        return replace(self, lr=NO_RATES)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> OptimSpec:
        """Return the optimiser that `recipe_dict` wrote."""
        rates = {group: values[f"{group}_lr"] for group in GROUPS}
        rest = {key: value for key, value in values.items() if key.removesuffix("_lr") not in GROUPS}
        return cls(lr=GroupRates(**rates), **rest)


@dataclass(frozen=True)
class ScheduleSpec:
    """Learning-rate schedule: linear warm-up, then a constant-rate trunk, or decay over `n_steps`.

    Attributes:
        kind: `wsd` (trunk with cooldown branches), `constant` (trunk alone, for schedule-free AdamW),
            `cosine` or `linear`.
        warmup_steps: Steps of the warm-up.
        cooldown_frac: Cooldown steps over all steps up to the point, trunk included.
        final_lr_frac: Learning rate of the last step over the peak.
        n_steps: Steps of a cosine or linear run; None with a trunk.
    """

    kind: str
    warmup_steps: int
    cooldown_frac: float
    final_lr_frac: float
    n_steps: int | None = None

    @property
    def has_trunk(self) -> bool:
        """Whether one run yields points at several token counts."""
        return self.kind in TRUNK_SCHEDULES


@dataclass(frozen=True)
class DataSpec:
    """Training and evaluation data.

    Attributes:
        corpus_id: Hash of the training and evaluation text.
        tokenizer_id: Hash of the tokenizer.
        unigram_nats: Loss of a unigram model, which knows token frequencies alone, in nats per token.
        eval_tokens: Tokens of the evaluation set of finished points.
        curve_eval_tokens: Tokens of the evaluation set of the trunk on the way.
        task_items: Test problems per task and length at a finished point.
    """

    corpus_id: str
    tokenizer_id: str
    unigram_nats: float
    eval_tokens: int = stored_as("n_eval_tokens")
    curve_eval_tokens: int = stored_as("n_curve_eval_tokens")
    task_items: int = added(0, key="n_task_items")


@dataclass(frozen=True)
class RunSpec:
    """Recipe of one run: a trunk with its branches, or one cosine or linear run.

    Attributes:
        rung: Name of the model size.
        model: Shape of the model.
        optim: Optimiser and batch.
        schedule: Learning-rate schedule.
        data: Training and evaluation data.
        seed: Seed of the initial parameters and of the data order.
        log_interval: Steps per row of the curve; also the steps of one call of the compiled program.
        recipe_version: Raised if the same fields come to mean other numbers.
    """

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
        """Hash of the recipe."""
        return content_id(recipe_dict(self))

    @property
    def batch_tokens(self) -> int:
        """Tokens per step."""
        return self.optim.batch_size * self.model.seq_len

    def n_steps(self, n_tokens: int) -> int:
        """Return the steps that train `n_tokens` tokens, rounded down."""
        return n_tokens // self.batch_tokens

    def point_id(self, n_tokens: int) -> str:
        """Return the identity of the point at `n_tokens` tokens."""
        if n_tokens not in self._point_ids:
            self._point_ids[n_tokens] = content_id([self.run_id, n_tokens])
        return self._point_ids[n_tokens]

    @cached_property
    def _point_ids(self) -> dict[int, str]:
        """Hashes by token count: a plan asks for each of them many times."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values, without `added` fields at their default."""
        return recipe_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunSpec:
        """Return the recipe that `to_dict` wrote."""
        parts = dict(
            values,
            model=ModelSpec(**values["model"]),
            optim=OptimSpec.from_dict(values["optim"]),
            schedule=ScheduleSpec(**values["schedule"]),
            data=from_stored(DataSpec, values["data"]),
        )
        return cls(**parts)


@dataclass(frozen=True)
class Job:
    """Work for a worker: a run and the token counts at which it must yield finished points."""

    spec: RunSpec
    n_tokens: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON values."""
        return {"spec": self.spec.to_dict(), "n_tokens": list(self.n_tokens)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Job:
        """Return the job that `to_dict` wrote."""
        return cls(RunSpec.from_dict(values["spec"]), tuple(values["n_tokens"]))


# Jobs of one compiled shape that train together as one vmapped program; nearly always one job.
Pack = tuple[Job, ...]
