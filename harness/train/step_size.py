"""How a batch is cut into micro-batches: an execution detail that leaves the mathematics as it is."""

from __future__ import annotations

from harness.spec import RunSpec

# Tokens per micro-batch that keep the working set in a core's L2 cache, up to this width and beyond it.
NARROW_D_MODEL = 64
NARROW_TOKENS = 128
WIDE_TOKENS = 512


def micro_batch_size(spec: RunSpec, n_devices: int) -> int:
    """Sequences per micro-batch, a divisor of the batch that the devices divide."""
    tokens = NARROW_TOKENS if spec.model.d_model <= NARROW_D_MODEL else WIDE_TOKENS
    target = max(1, tokens // spec.model.seq_len) * n_devices
    sizes = [size for size in range(1, target + 1) if spec.optim.batch_size % size == 0]
    return max((size for size in sizes if size % n_devices == 0), default=spec.optim.batch_size)
