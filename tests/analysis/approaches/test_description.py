"""A fit says whether its law describes the rows, and one table has one better law."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis as sl
from analysis.approaches.description import RIVALS
from analysis.contest.adequacy import CANDIDATES
from analysis.fit import main
from analysis.laws import family
from analysis.records.warning_codes import WarningCode
from analysis.result import Fit
from tests import ROOT
from tests.fakes.tables import joint, ladder, saturates


def test_a_fit_says_which_law_is_better_and_what_it_gives() -> None:
    table = ladder(joint, np.random.default_rng(0))
    fit = sl.fit_law(table, resamples=0)
    assert fit.description is not None
    assert fit.description.holds is False
    better = fit.description.better
    assert better is not None
    assert (better.law, better.describes) == ("joint", True)
    right = sl.fit_law(table, "joint", resamples=0)
    assert better.a == pytest.approx(right.frontier.a, abs=0.03)
    (text,) = (w.message for w in fit.warnings if w.code is WarningCode.LACK_OF_FIT)
    assert f"joint describes them (residuals {100 * better.residual_rms:.2g} % RMS" in text
    assert f"a = {better.a:.3f}" in text
    assert fit.summary().count("chinchilla does not describe these runs") == 1
    assert right.description is not None
    assert right.description.holds
    assert "description: joint describes these runs" in right.summary()
    assert WarningCode.LACK_OF_FIT not in {warning.code for warning in right.warnings}


def test_without_limits_the_law_that_needs_them_is_named() -> None:
    """No law here holds on rows with offsets by size, as unequal tuning leaves; saturating could not try."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(2e4, 4e5, 6), np.geomspace(1e6, 1.6e7, 6)))
    n, d = np.tile(n, 2), np.tile(d, 2)  # two seeds a cell
    shocks = 0.001 * np.random.default_rng(0).standard_normal(72)
    loss = joint(n, d) * np.exp(0.03 * np.cos(2 * np.log(n)) + shocks)
    fit = sl.fit_law(pd.DataFrame({"N": n, "D": d, "loss": loss}), "joint", resamples=0)
    assert fit.description is not None
    assert fit.description.better is None
    assert "no other law here describes them clearly better" in fit.description.verdict
    assert "saturating needs U and the vocabulary" in fit.description.verdict


@pytest.mark.parametrize(("rows", "holds"), [(5, None), (20, True)])
def test_rows_that_leave_nothing(rows: int, holds: bool | None) -> None:
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
    frame = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
    kept = frame if rows == 20 else frame.iloc[[0, 4, 7, 13, 17]]
    fit = sl.fit_law(kept, resamples=0)
    assert fit.description is not None
    assert fit.description.holds is holds


def test_a_law_of_one_axis_is_judged_too() -> None:
    n = np.geomspace(1e6, 1e9, 9)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(9))
    frame = pd.DataFrame({"N": n, "loss": (1.7 + 400 * n**-0.34) * noise})
    fit = sl.fit_law(frame, "kaplan_n", mapping={"N": "N"}, resamples=0)
    assert fit.description is not None
    assert fit.description.better is not None
    assert "E other than 0" in fit.description.verdict
    assert fit.description.better.law == "kaplan_n_offset"
    assert fit.description.better.params["E"] == pytest.approx(1.7, abs=0.2)


def test_the_command_starts_from_the_sweep_s_law_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ROOT / "results/chinchilla"
    if not (sweep / "fits.json").exists():
        pytest.skip("no committed sweep under results/")
    primary = json.loads((sweep / "fits.json").read_text())["primary"]["law"]
    points, out = tmp_path / "points.parquet", tmp_path / "fit.json"
    arguments = [str(points), "--resamples", "0", "--json", str(out)]
    for name in ("points.parquet", "fits.json"):
        shutil.copy(sweep / name, tmp_path / name)
    assert main(arguments) == 0
    assert f"law: {primary}, which the sweep chose" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["law"] == primary
    assert found["description"]["holds"] in (True, False)
    (tmp_path / "fits.json").write_text("{")
    assert main(arguments) == 0
    assert "law: chinchilla, because" in capsys.readouterr().out
    (tmp_path / "fits.json").unlink()
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "fits.json, which holds the law of a sweep, is not there" in said
    assert "warning lack_of_fit (blocks the quote): chinchilla does not describe these runs" in said
    assert family(json.loads(out.read_text())["description"]["better"]["law"]) in said


def named(fit: Fit) -> str | None:
    """The law that a fit says describes its rows better."""
    assert fit.description is not None
    return fit.description.better.law if fit.description.better else None


def test_the_laws_that_are_named_are_those_of_a_contest() -> None:
    assert set(RIVALS["nd"]) == set(CANDIDATES)


def test_of_two_laws_with_as_many_parameters_the_likelier_is_named() -> None:
    """The truth saturates: bounded comes near, and joint has as many parameters."""
    table = ladder(saturates, np.random.default_rng(0))
    fit = sl.fit_law(table, resamples=0)
    assert named(fit) == "bounded"
    assert fit.description is not None
    assert fit.description.better is not None
    assert fit.description.better.params["E"] == pytest.approx(1.6, abs=0.15)


def test_all_rows_of_a_comparison_name_its_likeliest_law() -> None:
    found = sl.compare_approaches(ladder(joint, np.random.default_rng(0)), "joint_e0", resamples=0)
    assert {named(fit) for fit in found.fits if fit.approach == "parametric"} - {None} == {"joint_e0"}
    assert found.together is not None
    assert found.together.startswith("by weight, the laws that these rows cannot exclude are joint_e0 ")
    assert "joint_e0 is the likeliest law of these rows" in found.reason


def test_a_law_with_a_parameter_for_each_row_describes_nothing() -> None:
    n = np.geomspace(1e6, 1e9, 6)
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(6))
    frame = pd.DataFrame({"N": n, "loss": (1.7 + 400 * n**-0.34) * noise})
    fit = sl.fit_law(frame, "kaplan_n", mapping={"N": "N"}, resamples=0)
    assert named(fit) == "kaplan_n_offset"
