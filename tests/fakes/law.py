"""The known truth behind the made-up sweep."""

from __future__ import annotations

from typing import Any

WIDTHS = (16, 32, 48, 64, 96)
TRUTH = {"A": 1.5e4, "B": 1.0e5, "alpha": 0.5, "beta": 0.5, "gamma": 0.3}
SEED_SD = 0.003


def joint_loss(n: Any, d: Any) -> Any:
    """L = (A·N^-α + B·D^-β)^γ, nats per token."""
    inner = TRUTH["A"] * n ** -TRUTH["alpha"] + TRUTH["B"] * d ** -TRUTH["beta"]
    return inner ** TRUTH["gamma"]
