"""What a plan says of the errors to expect, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.advice import AHEAD
from analysis.arrays import Array
from analysis.design.expected import ExpectedErrors, expect, truth_of
from analysis.design.information import Cells, Information, Truth
from analysis.design.range import degenerate, range_doubts
from analysis.laws import find_law
from analysis.records.fit import COUNTS
from analysis.records.fits import read_study
from analysis.tables.table import load_table
from harness.grid.cells import Cell
from harness.recipe import counting
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.number_text import power_of_ten, si
from harness.records.paths import SweepFolder

FEWEST = 6  # different fitted cells: fewer hold no law, whatever their range
# The law that the runs of results/chinchilla gave, and the noise between the seeds of results/replications.
USUAL = Truth(
    law=find_law("saturating(5.3045,6.2383)"),
    theta=np.array([1.664, 1514.0, 10368.0, 0.6425, 0.6802]),
    noise_sd=0.0038,
    noise_n=4e4,
    exponent=0.2,
    share=0.8,
    largest_n=4e6,
)
USUAL_NAME = "the law of results/chinchilla"
NAMES = {"alpha": "α", "beta": "β", "gamma": "γ"}


def expected_lines(folder: SweepFolder, cells: Sequence[Cell]) -> list[str]:
    """Return what to expect of the laws that a plan's fitted cells will give, a sentence each.

    The law is that of earlier results in the folder, or else USUAL.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
    """
    fitted = [cell for cell in cells if cell.role == "fit"]
    if len({(cell.spec.model, cell.n_tokens) for cell in fitted}) < FEWEST:
        return []
    n, d, c = _places(fitted)
    doubt = degenerate(n, d)
    if doubt is not None:
        return [f"[{doubt.code}] {doubt.message}"]
    trunk = np.unique([cell.spec.run_id for cell in fitted], return_inverse=True)[1]
    truth, whose = _truth(folder)
    held = [cell for cell in cells if cell.role == "holdout"]
    ahead = max(held, key=lambda cell: cell.flops, default=None)
    place = None if ahead is None else tuple(float(part[0]) for part in _places([ahead]))
    try:
        found = expect(
            Information(truth, Cells(n, d, c, trunk)),
            place=None if place is None else (place[0], place[1], place[2]),
            target=AHEAD * float(c.max()),
        )
    except InputError as error:
        return [str(error), *(f"[{each.code}] {each.message}" for each in range_doubts(n, d, c))]
    name = (
        ""
        if ahead is None
        else f"of the largest held-out cell ({ahead.spec.rung}, {si(ahead.n_tokens)} tokens)"
    )
    lines = [_sentence(found, whose, name)]
    # How far the hold-out reaches has a line of its own.
    return lines + [
        f"[{each.code}] {each.message}" for each in found.warnings if each.code != "extrapolation"
    ]


def _sentence(found: ExpectedErrors, whose: str, ahead: str) -> str:
    errors = ", ".join(
        f"{NAMES.get(key, key)} ± {error:.2g}" for key, error in found.errors.items() if error is not None
    )
    text = f"expected standard errors, by {whose}: {errors}"
    if found.target is None or found.target_error is None:
        return text
    place = ahead or f"at {power_of_ten(found.target.flops)} FLOPs"
    return (
        f"{text}; forecast of the loss {place} ± {100 * found.target_error:.2g} %, beside "
        f"{100 * found.noise:.2g} % of that run's own noise"
    )


def _truth(folder: SweepFolder) -> tuple[Truth, str]:
    """Return the law to expect, and whose it is."""
    if folder.points.exists():
        try:
            table = load_table(read_table(folder.points), count=COUNTS[0])
            study = read_study(folder.fits) if folder.fits.exists() else None
            is_counted_so = study and study.primary and study.primary.count == COUNTS[0]
            law = study.planning_law if study and is_counted_so else None
            return truth_of(table, law), f"the law of the runs in {folder.root}"
        except InputError:
            return USUAL, USUAL_NAME
    return USUAL, USUAL_NAME


def _places(cells: Sequence[Cell]) -> tuple[Array, Array, Array]:
    """Return N, D and C of cells."""
    n = [float(counting.n_params_matmul(cell.spec.model)) for cell in cells]
    return (
        np.array(n),
        np.array([float(cell.n_tokens) for cell in cells]),
        np.array([cell.flops for cell in cells]),
    )
