"""What the plan says of rules in tokens that reach their limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.config.schema import OptimSettings
from harness.grid.cells import Cell
from harness.grid.token_rules import free_batch_size
from harness.recipe.spec import RunSpec
from harness.records.number_text import si

SHORT_RUN = 10  # half-lives of Adam's second moment that a run should last


def recipe_notes(cells: Sequence[Cell], settings: OptimSettings) -> list[str]:
    """Return a sentence on batches that token counts keep from the rule, and one on a long half-life."""
    longest: dict[RunSpec, int] = {}
    for cell in cells:
        longest[cell.spec] = max(cell.n_tokens, longest.get(cell.spec, 0))
    notes = []
    free = {spec: free_batch_size(settings, n, spec.model.seq_len) for spec, n in longest.items()}
    kept = [spec for spec in longest if spec.optim.batch_size != free[spec]]
    # Without the rule another batch than the setting is one that the grid lists.
    if kept and settings.batch_size_tokens_exponent:
        first = kept[0]
        notes.append(
            f"{_names(kept)} keep to a batch that ends at all their token counts: {first.optim.batch_size} "
            f"sequences of {first.rung} in place of {free[first]} by the rule; token counts that are "
            "multiples of a higher power of two lift that"
        )
    half_life = settings.beta2_half_life
    short = [spec for spec, n in longest.items() if half_life is not None and SHORT_RUN * half_life > n]
    if half_life is not None and short:
        notes.append(
            f"{_names(short)} train fewer than {SHORT_RUN} half-lives of optim.beta2_half_life="
            f"{si(half_life)} tokens, which was measured on longer runs; null takes optim.beta2"
        )
    return notes


def _names(specs: Iterable[RunSpec]) -> str:
    return ", ".join(dict.fromkeys(spec.rung for spec in specs))
