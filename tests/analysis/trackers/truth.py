"""Runs that the stored files of trackers hold: sizes, steps and losses by a law."""

from __future__ import annotations

from dataclasses import dataclass

TOKENS_PER_STEP = 524_288
SIZES = {"20M": 2e7, "80M": 8e7, "320M": 3.2e8, "1.3B": 1.3e9}
LAST_STEPS = (2_000, 8_000, 32_000)
ROWS = 8  # of each run


@dataclass(frozen=True)
class Truth:
    """A run whose losses follow a law.

    Attributes:
        size: name of its size.
        last: its last step.
    """

    size: str
    last: int

    @property
    def name(self) -> str:
        """Name of the run."""
        return f"gpt-{self.size}-{self.last}"

    @property
    def n(self) -> float:
        """Parameters."""
        return SIZES[self.size]

    @property
    def steps(self) -> list[int]:
        """Logged steps."""
        return [self.last * row // ROWS for row in range(1, ROWS + 1)]

    def loss(self, step: int) -> float:
        """Evaluation loss at a step, nats per token."""
        return 1.7 + 400 * self.n**-0.34 + 410 * (step * TOKENS_PER_STEP) ** -0.28

    def lr(self, step: int) -> float:
        """Learning rate at a step: linear down to a tenth."""
        return 1e-3 * (1 - 0.9 * step / self.last)


RUNS = [Truth(size, last) for size in SIZES for last in LAST_STEPS]
FEW = RUNS[:9:4]  # one of each of three sizes
