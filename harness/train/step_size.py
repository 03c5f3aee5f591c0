"""How a batch is cut into micro-batches: an execution detail that leaves the mathematics as it is."""

from __future__ import annotations

from harness.spec import RunSpec

# Tokens a CPU core works on at a time: few, so that activations stay in its L2 cache; more for wide models,
# whose weights do not fit there and are read once per micro-batch.
CPU_TOKENS = 128
WIDE_CPU_TOKENS = 256
NARROW_D_MODEL = 64
# Tokens an accelerator scores at a time; it trains a whole batch at once.
ACCELERATOR_EVAL_TOKENS = 16_384


CPU = "cpu"


def micro_batch_size(spec: RunSpec, n_devices: int, platform: str = CPU) -> int:
    """Sequences per micro-batch, a divisor of the batch that the devices divide."""
    batch = spec.optim.batch_size
    if platform != CPU:
        return batch
    tokens = CPU_TOKENS if spec.model.d_model <= NARROW_D_MODEL else WIDE_CPU_TOKENS
    target = max(1, tokens // spec.model.seq_len) * n_devices
    sizes = [size for size in range(1, target + 1) if batch % size == 0 and size % n_devices == 0]
    return max(sizes, default=batch)


def eval_batch_size(seq_len: int, n_devices: int, platform: str = CPU) -> int:
    """Sequences scored at a time, a multiple of the devices."""
    tokens = CPU_TOKENS if platform == CPU else ACCELERATOR_EVAL_TOKENS
    return max(1, tokens // seq_len) * n_devices
