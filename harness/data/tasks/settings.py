"""What the configuration says of a family of generated problems."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TaskSettings:
    """Its share of all training tokens, which its lengths have in equal parts."""

    share: float
    lengths: list[int]
