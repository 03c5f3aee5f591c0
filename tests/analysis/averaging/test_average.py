"""Estimates of a law are redrawn when somebody asks for them."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.averaging import average
from analysis.averaging.quantities import averaged_frontier
from tests.fakes.tables import joint, ladder


def test_only_laws_that_speak_are_fitted_to_redrawn_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit to each of 400 noises takes longest of all, and draws of an excluded law are left out."""
    redrawn: list[str] = []
    redraw = average._redrawn

    def counted(problem: average.Problem, theta: np.ndarray, shocks: np.ndarray) -> np.ndarray:
        redrawn.append(problem.law.name)
        return redraw(problem, theta, shocks)

    monkeypatch.setattr(average, "_redrawn", counted)
    table = ladder(joint, np.random.default_rng(0))
    found = average.average_laws(table, ["chinchilla", "joint", "quadrature"], resamples=8)
    (excluded,) = (entry for entry in found.laws if entry.name == "chinchilla")
    assert excluded not in found.kept
    for _ in range(2):
        averaged_frontier(found, table, table.c[:2])
    assert sorted(redrawn) == sorted(entry.name for entry in found.kept)
    assert len(excluded.samples) == 8
    assert redrawn[-1] == "chinchilla"
