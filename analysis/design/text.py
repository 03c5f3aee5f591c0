"""What the command prints of a design: expected errors beside measured ones, and the cells to train next."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.design.choose import Choice
from analysis.design.expected import ExpectedErrors
from analysis.laws import family
from harness.records.number_text import power_of_ten, si

WORDS = {"alpha": "α", "beta": "β", "gamma": "γ", "a": "a"}


def errors_text(found: ExpectedErrors, measured: Mapping[str, float | None], name: str) -> str:
    """Return the expected standard errors of a design, a line each.

    Args:
        found: what is expected.
        measured: standard error of the bootstrap by quantity, `loss` for the log loss at the target.
        name: of the runs.
    """
    lines = [
        f"{name}: {found.n_runs} runs in {found.n_cells} cells; if the {family(found.law)} law is true, fits "
        f"by {found.estimator} have these standard errors",
        f"{'':8}{'value':>10}{'expected ±':>14}{'bootstrap ±':>14}",
    ]
    for key, value in found.values.items():
        lines.append(
            f"{WORDS.get(key, key):8}{value:10.3f}{_number(found.errors[key])}{_number(measured.get(key))}"
        )
    if found.target is not None:
        target = found.target
        lines.append(
            f"{'loss':8}{target.loss:10.3f}{_percent(found.target_error)}{_percent(measured.get('loss'))}  "
            f"at {power_of_ten(target.flops)} FLOPs: N = {si(target.n)}, D = {si(target.d)}; "
            f"one run's own noise is {100 * found.noise:.2g} %"
        )
    return "\n".join([*lines, *(w.line for w in found.warnings)])


def choice_text(choice: Choice, spend: float, notes: tuple[str, ...] = ()) -> str:
    """Return the cells to train next, a line each, and what they cost and bring together."""
    lines = [
        f"{len(choice.cells)} cells for the loss at {power_of_ten(choice.target.flops)} FLOPs "
        f"(N = {si(choice.target.n)}, D = {si(choice.target.d)}), by what each brings per FLOP",
        f"{'rung':>8}{'N':>9}{'D':>9}  {'trunk':12}{'FLOPs':>10}{'loss ± before':>16}{'after':>9}",
    ]
    for cell in choice.cells:
        trunk = cell.trunk
        state = "new" if trunk.is_new and not trunk.added else "same"
        seed = "" if trunk.seed is None else f", seed {trunk.seed}"
        lines.append(
            f"{trunk.size.name or '–':>8}{si(trunk.size.n):>9}{si(cell.n_tokens):>9}  {state + seed:12}"
            f"{cell.price:10.2e}{100 * cell.error_before:14.2f} %{100 * cell.error_after:7.2f} %"
        )
    lines.append(
        f"together {choice.price:.3g} of {spend:.3g} FLOPs: the standard error of the loss falls from "
        f"{100 * choice.error_before:.2g} to {100 * choice.error_after:.2g} %"
    )
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _number(value: float | None) -> str:
    return f"{'–':>14}" if value is None else f"{value:14.3g}"


def _percent(value: float | None) -> str:
    return f"{'–':>14}" if value is None else f"{100 * value:12.2g} %"
