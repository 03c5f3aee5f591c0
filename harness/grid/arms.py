"""What the plan says of the arms of a grid: overrides, parameters and FLOPs per token beside the base arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.config.schema import SweepSettings
from harness.config.values import typed
from harness.grid.cells import Cell
from harness.recipe import counting
from harness.recipe.spec import ModelSpec
from harness.records.number_text import power_of_ten, si


def arm_notes(cells: Sequence[Cell], settings: SweepSettings) -> list[str]:
    """Return a sentence for each arm; none for a grid without arms.

    Args:
        cells: cells of the plan.
        settings: the whole configuration.
    """
    models: dict[str, dict[str, ModelSpec]] = {}
    for cell in cells:
        if cell.arm is not None:
            models.setdefault(cell.arm, {})[cell.spec.rung] = cell.spec.model
    if not models:
        return []
    arms: Mapping[str, Mapping[str, Any]] = settings.grid.arms or {}
    base, *others = models
    sizes = [counting.n_params(model) for model in models[base].values()]
    costs = [counting.train_flops_token(model) for model in models[base].values()]
    notes = [
        f"arm {base} ({_overrides(arms.get(base, {}))}) is the base: N = {si(min(sizes))} to "
        f"{si(max(sizes))}, {power_of_ten(min(costs))} to {power_of_ten(max(costs))} FLOPs per token"
    ]
    for name in others:
        pairs = [(models[base][rung], model) for rung, model in models[name].items() if rung in models[base]]
        larger = any(counting.n_params(own) > counting.n_params(other) for other, own in pairs)
        notes.append(
            f"arm {name} ({_overrides(arms.get(name, {}))}): N × {_span(counting.n_params, pairs)}, FLOPs "
            f"per token × {_span(counting.train_flops_token, pairs)} at equal width"
            + _same_size(arms.get(name, {}), settings, larger)
        )
    return notes


def _overrides(overrides: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={typed(value)}" for key, value in overrides.items()) or "no overrides"


def _span(count: Any, pairs: Iterable[tuple[ModelSpec, ModelSpec]]) -> str:
    """Return the quotients of a count, smallest and largest."""
    found = sorted({f"{count(own) / count(other):.3f}" for other, own in pairs})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _same_size(overrides: Mapping[str, Any], settings: SweepSettings, larger: bool) -> str:
    """Return how an arm with SwiGLU would get the parameters of GELU; empty for other arms."""
    ratio = overrides.get("model.mlp_ratio", settings.model.mlp_ratio)
    if not larger or overrides.get("model.mlp") != "swiglu" or ratio is None:
        return ""
    return (
        "; SwiGLU has three matrices for two, and model.mlp_ratio=null beside it gives it the parameters of "
        "GELU at ratio 4"
    )
