"""Entries of a grid's lists beside its rectangle of sizes and token counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ExtraCells:
    """Cells beside the rectangle: further seeds, to measure seed noise, or longer runs of one rung."""

    d_model: int
    n_tokens: list[int]
    seeds: list[int]


@dataclass
class Reference:
    """Cosine runs tuned over `lr_scale`, against which trunk + branch is held."""

    d_model: int
    n_tokens: int
    lr_scale: list[float]
    seeds: list[int]
