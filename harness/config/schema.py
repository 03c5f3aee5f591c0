"""Schema of a sweep's settings: every key of the configuration, with its type.

MISSING marks a field without a default here, because its value stands in a file of sweeps/. The dataclasses
are not frozen, because OmegaConf cannot build nested frozen ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from harness.execution.execution import MeshConfig
from harness.recipe.run_id import added
from harness.recipe.spec import GROUPS

DEFAULT_BUDGET = "quick"


@dataclass
class SourceSettings:
    """A source of a mixture; null takes the value of the mixture, or what the files themselves show."""

    weight: float | None = None
    path: str | None = None
    kind: str | None = None
    max_epochs: float | None = None
    eval_path: str | None = None
    eval_fraction: float | None = None
    text_field: str = "text"
    token_field: str | None = None
    packages: list[str] = field(default_factory=list)


@dataclass
class DataSettings:
    """Text source, tokenizer and evaluation set."""

    name: str = MISSING
    path: str | None = None
    text_field: str = "text"
    packages: list[str] = field(default_factory=list)
    tokenizer: str = MISSING
    vocab_size: int = MISSING
    eval_path: str | None = None
    token_field: str | None = None
    separator: int | None = None
    eval_fraction: float = MISSING
    eval_tokens: int = MISSING
    curve_eval_tokens: int = MISSING
    max_epochs: float = MISSING
    synthetic_tokens: int = 0
    markov_order: int = 0
    branching: int = 0
    zipf: float = 0.0
    source_seed: int = 0
    tasks: dict[str, Any] = field(default_factory=dict)
    task_items: int = 0
    sources: dict[str, SourceSettings] = field(default_factory=dict)
    contamination: str | None = None


@dataclass
class ModelSettings:
    """Model settings that all rungs share; a rung adds the width and may change the depth."""

    n_layers: int = MISSING
    head_dim: int = MISSING
    mlp_ratio: float | None = MISSING
    seq_len: int = MISSING
    mlp: str = MISSING
    qk_norm: bool = MISSING
    key_shift: bool = MISSING
    rope_theta: float = MISSING
    norm_eps: float = MISSING
    precision: str = added("fp32")
    n_experts: int = added(1)
    n_active_experts: int = added(1)
    capacity_factor: float = added(1.25)
    balance_weight: float = added(0.01)
    router_z_weight: float = added(0.001)
    n_kv_heads: int | None = added(None)
    kv_group: int | None = added(None)
    tied_embeddings: bool = added(False)
    window: int | None = added(None)
    full_every: int | None = added(None)
    dropout: float = added(0.0)
    z_loss: float = added(0.0)


@dataclass
class OptimSettings:
    """Optimiser and schedule, with the rate lr·(d_model/64)^exponent for each parameter group.

    Rules in depth, batch and D multiply that rate by (n_layers/3)^…, (batch tokens/reference_batch_tokens)^…
    and (D/reference_tokens)^…; `harness.grid.token_rules` has them and the others.
    """

    batch_size: int = MISSING
    name: str = added("adamw")
    transfer: str = added("measured")
    hidden_lr: float = MISSING
    hidden_lr_exponent: float = MISSING
    embed_lr: float = MISSING
    embed_lr_exponent: float = MISSING
    head_lr: float = MISSING
    head_lr_exponent: float = MISSING
    gain_lr: float = MISSING
    gain_lr_exponent: float = MISSING
    beta1: float = MISSING
    beta2: float = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING
    grad_clip: float = MISSING
    schedule: str = MISSING
    warmup_frac: float = MISSING
    cooldown_frac: float = MISSING
    final_lr_frac: float = MISSING
    # Rules in depth, batch and D; off by default, and recipes without them have no trace of them.
    hidden_lr_depth_exponent: float = added(0.0)
    embed_lr_depth_exponent: float = added(0.0)
    head_lr_depth_exponent: float = added(0.0)
    gain_lr_depth_exponent: float = added(0.0)
    hidden_lr_batch_exponent: float = added(0.0)
    embed_lr_batch_exponent: float = added(0.0)
    head_lr_batch_exponent: float = added(0.0)
    gain_lr_batch_exponent: float = added(0.0)
    hidden_lr_tokens_exponent: float = added(0.0)
    embed_lr_tokens_exponent: float = added(0.0)
    head_lr_tokens_exponent: float = added(0.0)
    gain_lr_tokens_exponent: float = added(0.0)
    reference_batch_tokens: float = added(512.0)
    reference_tokens: float = added(524288.0)
    batch_size_tokens_exponent: float = added(0.0)
    beta2_half_life: float | None = added(None)
    decay_timescale: float | None = added(None)
    decay_timescale_exponent: float = added(0.0)
    warmup_tokens: float | None = added(None)

    @property
    def has_rules(self) -> bool:
        """Whether the recipe follows depth, batch or D."""
        exponents = [*self.lr_depth_exponent.values(), *self.lr_batch_exponent.values()]
        exponents += [*self.lr_tokens_exponent.values(), self.batch_size_tokens_exponent]
        scales = (self.beta2_half_life, self.decay_timescale, self.warmup_tokens)
        return any(exponents) or any(scale is not None for scale in scales)

    @property
    def lr(self) -> dict[str, float]:
        """Peak learning rate at d_model 64, by parameter group."""
        return self._by_group("lr")

    @property
    def lr_exponent(self) -> dict[str, float]:
        """Exponent of the learning rate over d_model, by parameter group."""
        return self._by_group("lr_exponent")

    @property
    def lr_depth_exponent(self) -> dict[str, float]:
        """Exponent of the learning rate over n_layers, by parameter group."""
        return self._by_group("lr_depth_exponent")

    @property
    def lr_batch_exponent(self) -> dict[str, float]:
        """Exponent of the learning rate over the tokens of a batch, by parameter group."""
        return self._by_group("lr_batch_exponent")

    @property
    def lr_tokens_exponent(self) -> dict[str, float]:
        """Exponent of the learning rate over D, by parameter group."""
        return self._by_group("lr_tokens_exponent")

    def _by_group(self, ending: str) -> dict[str, float]:
        return {group: getattr(self, f"{group}_{ending}") for group in GROUPS}


@dataclass
class MeshSettings:
    """Number of devices along each mesh axis; `auto` chooses them before anything else is planned."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    stage: int = 1
    expert: int = 1
    auto: bool = False

    @property
    def sizes(self) -> MeshConfig:
        """The mesh of one run."""
        return MeshConfig(self.data, self.fsdp, self.tensor, self.stage, self.expert)


@dataclass
class ExecutionSettings:
    """Trade-offs of memory against time, outside the recipe; null lets the platform choose."""

    remat: str = "none"
    scan_layers: bool | None = None
    micro_batch: int | None = None
    attention: str | None = None


@dataclass
class LauncherSettings:
    """Launcher of runs: `detach` to `sbatch` concern Slurm, `address` to `resources` Ray; both use `cpus`."""

    name: str = MISSING
    n_workers: int | None = None
    pack: int | None = None
    checkpoint_seconds: float = MISSING
    max_attempts: int = MISSING
    detach: bool = False
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gres: str | None = None
    minutes: int = 60
    nodes: int = 1
    signal_seconds: int = 90
    sbatch: dict[str, Any] = field(default_factory=dict)
    address: str | None = None
    cpus: int = 1
    gpus: float = 0
    resources: dict[str, float] = field(default_factory=dict)


@dataclass
class PlanSettings:
    """Devices and price that the printed plan is made for; nothing that is trained depends on them.

    Attributes:
        device: kind and number of devices, such as `h100:8`; null plans for this machine.
        mfu: share of the device's peak FLOP/s that a step reaches; null assumes one.
        price_per_hour: price of one device for an hour.
    """

    device: str | None = None
    mfu: float | None = None
    price_per_hour: float | None = None


@dataclass
class ExtraCells:
    """Cells beyond the rectangle of the grid: more seeds, to measure seed noise, or longer runs of a rung.

    Attributes:
        d_model: width.
        n_tokens: training tokens.
        seeds: seeds of each.
        n_layers: depth; null is model.n_layers.
        n_heads: query heads; null takes those of the grid's rung of this width and depth.
        n_kv_heads: heads of keys and values, likewise.
    """

    d_model: int
    n_tokens: list[int]
    seeds: list[int]
    n_layers: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None


@dataclass
class ListedCells(ExtraCells):
    """Cells that are trained as listed: neither repeated by `fit_seeds` nor held out by `holdout_factor`.

    They extend a sweep without a change to its recipe: its warm-up and its batches do not depend on them.

    Attributes:
        role: `fit`, or `holdout` for cells that are forecast before they are trained.
    """

    role: str = "fit"


@dataclass
class Reference:
    """Cosine runs tuned over `lr_scale`, with which trunk + branch is compared."""

    d_model: int
    n_tokens: int
    lr_scale: list[float]
    seeds: list[int]


@dataclass(unsafe_hash=True)
class Shape:
    """Shape of a rung, as an entry of `grid.rungs` or of a ladder; null takes what `model` gives its width.

    Attributes:
        d_model: width.
        n_layers: depth.
        n_heads: query heads, which divide the width.
        n_kv_heads: heads of keys and values, which divide the query heads.
    """

    d_model: int
    n_layers: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None


@dataclass
class Ladder:
    """Rungs whose depth moves as well as their width, in the place of `rungs`.

    Attributes:
        n_params_body: wanted parameters outside embedding and head, one rung each.
        aspect: wanted d_model / n_layers of these rungs.
        shapes: further rungs of given shape.
        rule: what moves with wanted sizes: `aspect` depth and width, `width` the width alone, at
            model.n_layers.
        head_dim: width of a head, in the place of model.head_dim; null keeps that.
    """

    n_params_body: list[float] = field(default_factory=list)
    aspect: float = 32.0
    shapes: list[Shape] = field(default_factory=list)
    rule: str = "aspect"
    head_dim: int | None = None


@dataclass
class GridCells:
    """Cells of a grid; null takes the value from the budget.

    Attributes:
        rungs: widths of the models; a list with shapes in it becomes a ladder of them.
        ladder: rungs of several depths, in place of `rungs`.
        n_tokens: training tokens of every rung.
        tokens_per_param: training tokens over all parameters, from which further token counts follow.
        flops: compute budgets, from which further token counts follow.
        max_flops: largest compute of a cell of the rectangle.
        seeds: seeds of the rectangle of rungs × token counts.
        fit_seeds: further seeds of the cells that are fitted; held-out cells do without them.
        extra: cells beside the rectangle.
        cells: further cells, trained as listed.
        references: cosine runs.
        holdout_factor: cells above 1/factor of the largest compute are held out.
        lr_scale: factors on the learning rate of each parameter group; such a grid is not fitted.
        batch_sizes: batches of a learning-rate grid, in sequences; null has optim.batch_size alone.
        task_items: test items per task and length.
        settings: values of other keys, by dotted name; what the user sets goes before.
    """

    rungs: list[int] | None = None
    ladder: Ladder | None = None
    n_tokens: list[int] | None = None
    tokens_per_param: list[float] | None = None
    flops: list[float] | None = None
    max_flops: float | None = None
    seeds: list[int] | None = None
    fit_seeds: list[int] | None = None
    extra: list[ExtraCells] | None = None
    cells: list[ListedCells] | None = None
    references: list[Reference] | None = None
    holdout_factor: float | None = None
    lr_scale: dict[str, list[float]] | None = None
    batch_sizes: list[int] | None = None
    task_items: int | None = None
    settings: dict[str, Any] | None = None


@dataclass
class GridSettings(GridCells):
    """Content of a grid file in sweeps/grid.

    Attributes:
        arms: overrides of each arm by its name, the base arm first; `harness.config.arms` reads them.
    """

    name: str = MISSING
    log_interval: int = MISSING
    resamples: int = MISSING
    budgets: dict[str, GridCells] = field(default_factory=dict)
    arms: dict[str, dict[str, Any]] | None = None


@dataclass
class SweepSettings:
    """All settings of `python -m harness.sweep`."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    execution: ExecutionSettings = field(default_factory=ExecutionSettings)
    launcher: LauncherSettings = field(default_factory=LauncherSettings)
    grid: GridSettings = field(default_factory=GridSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    budget: str = DEFAULT_BUDGET
    results_dir: str | None = None
    cache_dir: str | None = None
    dry_run: bool = False
    strict: bool = False
    sinks: list[str] = field(default_factory=list)
    keep: str = MISSING
    keep_gb: float = MISSING
    keep_precision: str = MISSING
