"""How a batch is cut into micro-batches: an execution detail that leaves the mathematics as it is."""

from __future__ import annotations

from harness.recipe.spec import ModelSpec, RunSpec

# Tokens a CPU core works on at a time: few, so that activations stay in its L2 cache; more for wide models,
# whose weights do not fit there and are read once per micro-batch.
CPU_TOKENS = 128
WIDE_CPU_TOKENS = 256
NARROW_D_MODEL = 96
# Tokens an accelerator scores at a time; it trains a whole batch at once.
ACCELERATOR_EVAL_TOKENS = 16_384
# Micro-batches a stage of a pipeline: with four of them a fifth of its time is spent filling and draining.
PIPELINE_FILL = 4
# Tokens scored by one call: evaluation sets of any size share one compiled program.
EVAL_CALL_TOKENS = 16_384


CPU = "cpu"


def cpu_tokens(d_model: int) -> int:
    """Tokens a core works on at a time."""
    return CPU_TOKENS if d_model <= NARROW_D_MODEL else WIDE_CPU_TOKENS


def micro_batch_size(spec: RunSpec, n_shards: int, platform: str = CPU, n_stages: int = 1) -> int:
    """Sequences per micro-batch, a divisor of the batch that the mesh's `n_shards` share evenly.

    A pipeline gets up to PIPELINE_FILL micro-batches a stage.
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
    """Sequences scored at a time, a multiple of the parts into which the mesh cuts a batch."""
    tokens = cpu_tokens(model.d_model) if platform == CPU else ACCELERATOR_EVAL_TOKENS
    return max(1, tokens // model.seq_len) * n_shards


def eval_call_batches(seq_len: int, batch: int) -> int:
    """Batches scored by one call."""
    return max(1, EVAL_CALL_TOKENS // (seq_len * batch))
