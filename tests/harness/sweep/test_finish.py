"""The end of a sweep: what is sealed, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.forecast.seal import table_sha256
from analysis.tables.table import load_table
from harness.records.paths import SweepFolder
from harness.sweep.finish import seal_forecast
from tests.fakes.sweep import make_points
from tests.small_sweeps import small_cells


def test_of_two_drivers_with_one_table_the_first_seals_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold-out may be in training by then, so that a second seal would be none."""

    def sealed(fitted: pd.DataFrame, cells: pd.DataFrame, **_: object) -> dict[str, Any]:
        return {"cells": cells.to_dict("records"), "table_sha256": table_sha256(load_table(fitted))}

    monkeypatch.setattr("analysis.forecast.seal.seal", sealed)
    folder, points, holdout = SweepFolder(tmp_path), make_points(np.random.default_rng(0)), small_cells()
    assert seal_forecast(folder, points, holdout, 20)
    before = folder.forecast.read_bytes()
    assert not seal_forecast(folder, points, holdout, 20)
    assert folder.forecast.read_bytes() == before
    assert seal_forecast(folder, points, holdout[:1], 20), "other cells are held out"
    assert seal_forecast(folder, points.iloc[1:], holdout[:1], 20), "another table is fitted"
