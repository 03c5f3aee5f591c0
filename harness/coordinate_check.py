"""`python -m harness.coordinate_check [key=value ...]`: coordinate check of a learning-rate transfer rule.

The check trains models of several widths for a few steps and measures the mean change of each activation. A
transfer rule is right if no change grows or vanishes with width: the slope of ln(change) over ln(d_model) is
near 0.

References: Yang et al., arXiv:2203.03466, appendix D.1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from rich.box import SIMPLE
from rich.table import Table

from harness.config.schema import SweepSettings
from harness.config.settings import known_keys, load_noted
from harness.engine.optim import Optimiser, group_rates
from harness.engine.step import quickly
from harness.grid.rules import Rung, model_spec, optim_spec
from harness.model.decoder import Decoder
from harness.recipe.spec import ModelSpec, OptimSpec
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.track.console import plain_console, print_notes

WIDTHS = (16, 32, 64, 128)
SEEDS = (0, 1, 2)
N_STEPS = 4
VOCAB = 64


def activations(decoder: Decoder, windows: Int[Array, "batch seq_plus_1"]) -> list[Array]:
    """Return the residual stream after the embedding and after each block, and the logits of the labels.

    Shapes are (batch·seq, d_model) for the residual stream and (batch·seq, 1) for the logits. The logits of
    other tokens are left out: their change is noise, which falls as 1/√d_model.

    Args:
        decoder: the model.
        windows: token ids; the label of each position is the next token.
    """
    x = decoder.embed[...][windows[:, :-1].reshape(-1)]
    found = [x]
    for block in decoder.blocks:
        x, _ = block(x, len(windows))
        found.append(x)
    logits = decoder.logits(x)
    labels = windows[:, 1:].reshape(-1, 1)
    return [*found, jnp.take_along_axis(logits, labels, axis=1)]


def changes_of(
    model: ModelSpec, optim: OptimSpec, n_steps: int, key: Array, windows: Int[Array, "batch seq_plus_1"]
) -> list[Float[Array, ""]]:
    """Return the mean |change| of each activation after `n_steps` on one batch.

    Args:
        model: shape of the model.
        optim: optimiser and learning rates.
        n_steps: training steps, at the full rate without a warm-up.
        key: key of the initialisation.
        windows: the batch.
    """
    # The model is built inside the function, so that initialisation and steps are one compiled program.
    graph, state = nnx.split(Decoder(model, nnx.Rngs(key)))
    optimiser = Optimiser(optim)

    def decoder(params: Any) -> Decoder:
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)

    def step(_: int, trained: tuple[Any, Any]) -> tuple[Any, Any]:
        params, memory = trained
        grads = jax.grad(lambda p: decoder(p).losses(windows).mean())(params)
        return optimiser.update(grads, memory, params, jnp.ones(()), group_rates(optim))

    start = nnx.to_pure_dict(state)
    end, memory = jax.lax.fori_loop(0, n_steps, step, (start, optimiser.init(start)))
    before = activations(decoder(start), windows)
    after = activations(decoder(optimiser.eval_params(end, memory)), windows)
    return [jnp.abs(new - old).mean() for old, new in zip(before, after, strict=True)]


def activation_changes(
    settings: SweepSettings, rung: Rung, seeds: Sequence[int] = SEEDS, n_steps: int = N_STEPS
) -> dict[str, float]:
    """Return the mean |change| of each activation, by its name, over seeds.

    Args:
        settings: settings of the model and the optimiser.
        rung: width and depth.
        seeds: seeds of initialisation and of the batch, which has random tokens.
        n_steps: training steps.
    """
    model = model_spec(rung, settings.model, VOCAB, settings.optim.transfer)
    optim = optim_spec(rung, settings.optim, {})
    quick = quickly(jax.default_backend())
    program = jax.jit(partial(changes_of, model, optim, n_steps), compiler_options=quick)
    shape = (optim.batch_size, model.seq_len + 1)
    batches = [np.random.default_rng(seed).integers(0, VOCAB, shape).astype(np.int32) for seed in seeds]
    rows = [program(jax.random.key(seed), batch) for seed, batch in zip(seeds, batches, strict=True)]
    names = ["embedding", *(f"block {index + 1}" for index in range(model.n_layers)), "label's logit"]
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def log_slope(sizes: Sequence[float], changes: Sequence[float]) -> float:
    """Return the least-squares slope of ln(change) over ln(size)."""
    return float(np.polyfit(np.log(sizes), np.log(changes), 1)[0])


def check(overrides: list[str]) -> None:
    """Print the table for the settings that the overrides make; raise InputError for wrong ones."""
    # Few tokens show how activations move, so the short context does not ask for more sequences.
    small = ["model.seq_len=32", "optim.batch_size=4"]
    loaded = load_noted(["+grid=smoke", f"grid.rungs={list(WIDTHS)}", *small, *overrides])
    settings, console = loaded.settings, plain_console()
    print_notes(console, loaded.notes)
    rungs = [Rung(width, settings.model.n_layers) for width in settings.grid.rungs or WIDTHS]
    if len(rungs) < 2:
        raise InputError(f"a slope needs two widths and one came; type grid.rungs={list(WIDTHS)}")
    found = [activation_changes(settings, rung) for rung in rungs]
    console.print(_table(settings, rungs, found))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser(
        "harness.coordinate_check",
        "Print how far activations move in a few steps against d_model, with the slope in logarithms.",
        "python -m harness.coordinate_check optim.transfer=mup model.n_layers=2",
        known_keys(),
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="optimiser and model, by the keys of harness.sweep; grid.rungs=[16,32,64] chooses the widths",
    )
    return parser.answer(arguments, lambda found: check(found.overrides))


def _table(settings: SweepSettings, rungs: list[Rung], found: list[dict[str, float]]) -> Table:
    """Return the table: a row per activation, a column per width, and the slope."""
    optim = settings.optim
    title = f"mean change after {N_STEPS} steps ({optim.name}, optim.transfer={optim.transfer})"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in ("", *(rung.name for rung in rungs), "slope"):
        table.add_column(name, justify="right" if name else "left")
    for name in found[0]:
        changes = [row[name] for row in found]
        slope = log_slope([rung.d_model for rung in rungs], changes)
        table.add_row(name, *(f"{change:.3g}" for change in changes), f"{slope:+.2f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
