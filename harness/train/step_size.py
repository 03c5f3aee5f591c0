"""How a batch is cut into micro-batches: an execution detail that leaves the mathematics as it is."""

from __future__ import annotations

from harness.spec import ModelSpec, RunSpec

# Tokens a CPU core works on at a time: few, so that activations stay in its L2 cache; more for wide models,
# whose weights do not fit there and are read once per micro-batch.
CPU_TOKENS = 128
WIDE_CPU_TOKENS = 256
NARROW_D_MODEL = 64
# Tokens an accelerator scores at a time; it trains a whole batch at once.
ACCELERATOR_EVAL_TOKENS = 16_384
# Tokens scored by one call: evaluation sets of any size share one compiled program.
EVAL_CALL_TOKENS = 16_384


CPU = "cpu"


def cpu_tokens(d_model: int) -> int:
    """Tokens a core works on at a time."""
    return CPU_TOKENS if d_model <= NARROW_D_MODEL else WIDE_CPU_TOKENS


def micro_batch_size(spec: RunSpec, n_devices: int, platform: str = CPU) -> int:
    """Sequences per micro-batch, a divisor of the batch that the devices divide."""
    batch = spec.optim.batch_size
    if platform != CPU:
        return batch
    target = max(1, cpu_tokens(spec.model.d_model) // spec.model.seq_len) * n_devices
    sizes = [size for size in range(1, target + 1) if batch % size == 0 and size % n_devices == 0]
    return max(sizes, default=batch)


def eval_batch_size(model: ModelSpec, n_devices: int, platform: str = CPU) -> int:
    """Sequences scored at a time, a multiple of the devices."""
    tokens = cpu_tokens(model.d_model) if platform == CPU else ACCELERATOR_EVAL_TOKENS
    return max(1, tokens // model.seq_len) * n_devices


def eval_call_batches(seq_len: int, batch: int) -> int:
    """Batches scored by one call."""
    return max(1, EVAL_CALL_TOKENS // (seq_len * batch))
