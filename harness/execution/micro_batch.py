"""Sizes of micro-batches for training and evaluation.

They are an execution detail: gradient accumulation over any micro-batches is the same mathematics.
"""

from __future__ import annotations

from harness.recipe.spec import ModelSpec, RunSpec

# Tokens per micro-batch on a CPU core. Few, so that activations stay in its L2 cache; more for wide models,
# because their weights do not fit there and each micro-batch reads them again.
CPU_TOKENS = 128
WIDE_CPU_TOKENS = 256
NARROW_D_MODEL = 96
# Tokens per evaluation batch on an accelerator. In training its micro-batch is the whole batch.
ACCELERATOR_EVAL_TOKENS = 16_384
# Micro-batches per pipeline stage. With m per stage and S stages, filling and draining the pipeline takes
# (S - 1)/(m·S + S - 1) of the time: at most a fifth at m = 4.
PIPELINE_FILL = 4
# Tokens per call of the evaluation program. Because it is fixed, evaluation sets of any size share one
# compiled program.
EVAL_CALL_TOKENS = 16_384


CPU = "cpu"


def cpu_tokens(d_model: int) -> int:
    """Return the tokens per micro-batch on one CPU core.

    >>> cpu_tokens(64), cpu_tokens(192)
    (128, 256)
    """
    return CPU_TOKENS if d_model <= NARROW_D_MODEL else WIDE_CPU_TOKENS


def micro_batch_size(spec: RunSpec, n_shards: int, platform: str = CPU, n_stages: int = 1) -> int:
    """Return the sequences per micro-batch, over the whole mesh.

    It divides the batch and is a multiple of `n_shards`, the shards of a batch on the mesh. CPU cores take
    about `cpu_tokens` tokens each, accelerators the whole batch. A pipeline of `n_stages` cuts the batch into
    up to PIPELINE_FILL micro-batches per stage.
    """
    batch = spec.optim.batch_size
    if n_stages > 1:
        counts = [n for n in range(1, PIPELINE_FILL * n_stages + 1) if batch % n == 0]
        return min(batch // n for n in counts if (batch // n) % n_shards == 0)
    if platform != CPU:
        return batch
    target = max(1, cpu_tokens(spec.model.d_model) // spec.model.seq_len) * n_shards
    sizes = [size for size in range(1, target + 1) if batch % size == 0 and size % n_shards == 0]
    return max(sizes, default=batch)


def eval_batch_size(model: ModelSpec, n_shards: int, platform: str = CPU) -> int:
    """Return the sequences per evaluation batch, a multiple of `n_shards`, the shards of a batch."""
    tokens = cpu_tokens(model.d_model) if platform == CPU else ACCELERATOR_EVAL_TOKENS
    return max(1, tokens // model.seq_len) * n_shards


def eval_call_batches(seq_len: int, batch: int) -> int:
    """Return the evaluation batches per call of the program.

    Args:
        seq_len: Tokens per sequence.
        batch: Sequences per evaluation batch (`eval_batch_size`).

    >>> eval_call_batches(seq_len=128, batch=4)
    32
    """
    return max(1, EVAL_CALL_TOKENS // (seq_len * batch))
