"""What further cells cost: a branch of a trunk pays for its cooldown and for the stretch that is missing.

A trunk is trained at a constant rate up to the start of its last branch, and saved there. A longer branch
continues from that point. A shorter one needs the trunk again from its beginning, unless it is trained
together with the trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Size:
    """A model size that runs can have.

    Attributes:
        n: parameters N.  flops_per_token: training FLOPs per token.
        name: of the rung; None in a table without rungs.
        d_model, n_layers: shape of a sweep's rung; None in a foreign table.
    """

    n: float
    flops_per_token: float
    name: str | None = None
    d_model: int | None = None
    n_layers: int | None = None


@dataclass(frozen=True)
class Trunk:
    """A trunk with its branches, or one that is yet to be trained.

    Attributes:
        code: that of its rows; codes of new trunks are above all others.
        size: the model.  seed: of initialisation and data; None in a table without seeds.
        ends: token counts that it has.
        saved: tokens of the trunk at its last saved state; 0 for a new one, and without checkpoints.
        cooldown: share of a branch that is its own, 1 for a run without trunk.
        added: token counts of further branches.
    """

    code: int
    size: Size
    seed: int | None
    ends: tuple[float, ...] = ()
    saved: float = 0.0
    cooldown: float = 1.0
    added: tuple[float, ...] = field(default=())

    @property
    def is_new(self) -> bool:
        """Whether nothing of it is trained."""
        return not self.ends

    @property
    def price(self) -> float:
        """Training FLOPs of the branches that were added."""
        return self.price_with(())

    def price_with(self, further: Sequence[float]) -> float:
        """Return the training FLOPs of the added branches and of further ones."""
        branches = [*self.added, *further]
        starts = [(1 - self.cooldown) * end for end in branches]
        beyond = max(0.0, max(starts, default=0.0) - self.saved)
        again = max((start for start in starts if start < self.saved), default=0.0)
        return self.size.flops_per_token * (self.cooldown * sum(branches) + beyond + again)

    def step(self, end: float) -> float:
        """Return the training FLOPs that one more branch adds."""
        return self.price_with((end,)) - self.price
