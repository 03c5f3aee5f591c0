"""Rungs of a ladder: integer widths and depths that come near wanted sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from harness.config.schema import Ladder, ModelSettings, OptimSettings
from harness.grid.rules import Rung, model_spec
from harness.grid.width_rates import REFERENCE_N_LAYERS
from harness.recipe.counting import n_params_body
from harness.records.errors import InputError

TOLERANCE = 0.03  # of the wanted parameters
MOST_BENT = 3.0  # times the wanted d_model / n_layers, or a shape is no rung of this ladder
NOTED_BENT = 1.5  # times the wanted d_model / n_layers, beyond which the plan says so
DEEPEST = 512


def ladder_rungs(ladder: Ladder, model: ModelSettings, vocab_size: int) -> list[Rung]:
    """Return the rungs of a ladder by the size of their body, each once.

    Args:
        ladder: wanted sizes and given shapes.
        model: fields that all rungs share; its depth is the one that names do not mention.
        vocab_size: number of token ids.

    Raises:
        InputError: the ladder is empty, or no shape comes near a wanted size.
    """
    aspect = ladder.aspect if ladder.rule == "aspect" else None
    found = [shape_of(size, aspect, model, vocab_size) for size in ladder.n_params_body]
    found += [Rung.of(shape, model) for shape in ladder.shapes]
    if not found:
        raise InputError(
            "grid.ladder names no rung, expected n_params_body or shapes; type "
            "grid.ladder={n_params_body: [2e6,8e6]}"
        )
    return sorted(dict.fromkeys(found), key=lambda rung: _body(rung, model, vocab_size))


def shape_of(size: float, aspect: float | None, model: ModelSettings, vocab_size: int) -> Rung:
    """Return the rung of `size` body parameters, up to TOLERANCE, with d_model / n_layers nearest `aspect`.

    Args:
        size: wanted parameters outside embedding and head.
        aspect: wanted d_model / n_layers; None keeps the depth of the model.
        model: fields that all rungs share.
        vocab_size: number of token ids.

    Raises:
        InputError: no shape comes so near; the sentence names the nearest.
    """
    unit = width_unit(model)
    # The body has n_layers · (a·d_model² + b·d_model) parameters: a and b from two widths.
    one, two = (
        _body(Rung(width, 1), replace(model, n_layers=1), vocab_size) / width for width in (unit, 2 * unit)
    )
    square = (two - one) / unit
    linear = one - square * unit
    shapes = []
    for depth in range(1, DEEPEST + 1) if aspect is not None else (model.n_layers,):
        width = (np.sqrt(linear**2 + 4 * square * size / depth) - linear) / (2 * square)
        steps = int(width // unit)
        shapes += [Rung(n * unit, depth, model.n_layers) for n in (steps, steps + 1) if n]
    bent = np.array(
        [abs(np.log(rung.d_model / rung.n_layers / aspect)) if aspect else 0.0 for rung in shapes]
    )
    off = np.array([abs(_body(rung, model, vocab_size) / size - 1) for rung in shapes])
    usable = bent <= max(np.log(MOST_BENT), bent.min())
    fits = usable & (off <= TOLERANCE)
    if not fits.any():
        nearest = shapes[int(np.argmin(np.where(usable, off, np.inf)))]
        limits = f"d_model / n_layers near {aspect:g}" if aspect else f"{model.n_layers} layers"
        raise InputError(
            f"no shape of widths that {unit} divides and {limits} has {size:,.0f} "
            f"body parameters within {TOLERANCE:.0%}, as was expected; d_model={nearest.d_model} of "
            f"{nearest.n_layers} layers has {_body(nearest, model, vocab_size):,}, so type that number, "
            f"{'another aspect' if aspect else 'grid.ladder.rule=aspect'} or a smaller model.head_dim"
        )
    return shapes[int(np.lexsort((off, np.where(fits, bent, np.inf)))[0])]


def width_unit(model: ModelSettings) -> int:
    """Return the number that divides every width: of a head, or of heads that share keys evenly."""
    return model.head_dim * (model.n_kv_heads or model.kv_group or 1)


def _body(rung: Rung, model: ModelSettings, vocab_size: int) -> int:
    return n_params_body(model_spec(rung, model, vocab_size))


def moving_depth_note(depths: Iterable[int]) -> list[str]:
    """Return a sentence if rungs differ in depth, of which laws and forecasts know nothing."""
    found = sorted(set(depths))
    if len(found) < 2:
        return []
    return [
        f"rungs have {found[0]} to {found[-1]} layers: laws and forecasts are of N and D along these shapes, "
        "and their intervals leave out what shape adds, as results/ladder shows"
    ]


def aspect_note(ladder: Ladder | None, shapes: Iterable[tuple[int, int]]) -> list[str]:
    """Return a sentence if rungs of wanted sizes are far from the wanted d_model / n_layers.

    Args:
        ladder: the ladder of the grid; None if it has none.
        shapes: d_model and n_layers of the rungs.
    """
    if ladder is None or not ladder.n_params_body or ladder.rule != "aspect":
        return []
    given = {(shape.d_model, shape.n_layers) for shape in ladder.shapes}
    bent = [
        f"{width / depth:.3g} at d{width} with {depth} layers"
        for width, depth in sorted(set(shapes) - given)
        if (width, None) not in given and abs(np.log(width / depth / ladder.aspect)) > np.log(NOTED_BENT)
    ]
    if not bent:
        return []
    return [
        f"d_model / n_layers is {', '.join(bent)} and grid.ladder.aspect={ladder.aspect:g} was wanted: no "
        f"nearer shape has the size within {TOLERANCE:.0%}; a smaller model.head_dim allows more widths"
    ]


def depth_note(depths: Iterable[int], settings: OptimSettings) -> list[str]:
    """Return a sentence if rungs differ in depth and their learning rates do not follow it."""
    found = sorted(set(depths))
    if len(found) < 2 or settings.transfer == "completep" or any(settings.lr_depth_exponent.values()):
        return []
    return [
        f"rungs have {found[0]} to {found[-1]} layers, and the learning rates were measured at "
        f"{REFERENCE_N_LAYERS}; optim=ladder lets the rates follow depth, optim.transfer=completep the blocks"
    ]
