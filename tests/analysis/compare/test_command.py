"""The command: arms of one table, two tables, two sweeps, a recipe against itself, and wrong input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.compare.__main__ import main
from analysis.compare.study import compare_arms
from analysis.compare.text import verdict
from analysis.records.comparison import ComparisonRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.tables.table import load_table
from harness.records.json_files import from_json
from tests.fakes.arms import Truth, simulated

pytestmark = pytest.mark.usefixtures("few_starts")

MAP = "rung=size,seed=seed,cluster=trunk"
QUICK = ["--resamples", "20"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two arms as people bring them: one table a recipe, and one of both."""
    folder = tmp_path_factory.mktemp("arms")
    first, second = simulated(Truth(shift=-0.03, size=1.1), 3, np.random.default_rng(0))
    first.drop(columns="arm").to_csv(folder / "old.csv", index=False)
    second.drop(columns="arm").to_csv(folder / "new.csv", index=False)
    both = pd.concat([first, second]).rename(columns={"arm": "recipe"})
    both.to_csv(folder / "both.csv", index=False)
    both.assign(text=np.where(both.recipe == "old", "a", "b")).rename(columns={"text": "dataset"}).to_csv(
        folder / "texts.csv", index=False
    )
    both.assign(recipe=both.recipe.where(both.recipe == "new")).to_csv(folder / "blank.csv", index=False)
    return folder


def test_arms_of_one_table(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tables / "one.json"
    arguments = [str(tables / "both.csv"), "--map", f"arm=recipe,{MAP}", "--target", "1e13", *QUICK]
    assert main([*arguments, "--json", str(out)]) == 0
    said = capsys.readouterr().out
    assert "read as: " in said
    assert "new against old: 27 pairs of runs of the same seed in 9 cells; N of new × 1.100" in said
    assert "verdict: new is better than old at 5×10¹¹ FLOPs" in said
    found = from_json(json.loads(out.read_text()), ComparisonRecord, out)
    assert (found.first, found.second) == ("old", "new")
    assert found.target is not None
    assert f"{found.target.compute:.3f}" in said
    assert main([*arguments, "--base", "new"]) == 0
    assert "old against new: 27 pairs" in capsys.readouterr().out


def test_two_tables_say_the_same_as_one(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tables / "old.csv"), str(tables / "new.csv"), "--map", MAP, *QUICK]) == 0
    two = capsys.readouterr().out
    assert main([str(tables / "both.csv"), "--map", f"arm=recipe,{MAP}", *QUICK]) == 0
    assert two.splitlines()[2:] == capsys.readouterr().out.splitlines()[2:]


def test_two_sweeps_are_named_by_their_folders(capsys: pytest.CaptureFixture[str]) -> None:
    """Replications of one recipe, whose seeds differ, so runs are paired by cell."""
    folders = [f"results/replications/chinchilla/r0{number}" for number in (1, 2)]
    assert main([*folders, *QUICK]) == 0
    said = capsys.readouterr().out
    assert "r02 against r01: 65 pairs of runs of the same cell in 25 cells; N of r02 × 1.000" in said
    assert "verdict: No difference between r02 and r01 is shown" in said


@pytest.mark.parametrize("compute", [0.8, 1.01])
def test_the_verdict_says_that_it_is_not_to_be_quoted(compute: float, tables: Path) -> None:
    first, second = (pd.read_csv(tables / f"{name}.csv") for name in ("old", "new"))
    mapping = {"rung": "size", "seed": "seed", "cluster": "trunk"}
    arms = [load_table(frame, mapping=mapping) for frame in (first, second)]
    found = compare_arms(*arms, names=("old", "new"), resamples=20)
    top = replace(found.top, compute=compute, compute_interval=(0.7, 0.9 if compute < 1 else 1.1))
    found = replace(found, rows=(*found.rows[:-1], top))
    assert "quoted" not in verdict(found)
    warned = [FitWarning(code, "so") for code in (WarningCode.UNPAIRED, WarningCode.NOISE_ASSUMED)]
    said = verdict(replace(found, warnings=tuple(warned)))
    assert said.startswith(
        "old looks better than new" if compute < 1 else "No difference between new and old"
    )
    assert "FLOPs, but this is not to be quoted (unpaired): old needs" in said


def test_a_recipe_against_itself(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tables / "many.csv"), "--map", MAP, *QUICK, "--itself"]
    simulated(Truth(), 9, np.random.default_rng(1))[0].to_csv(tables / "many.csv", index=False)
    assert main([*arguments, "2"]) == 0
    said = capsys.readouterr().out
    assert "seeds 0, 1 against seeds 2, 3: " in said
    assert " of 2 comparisons of one recipe with itself are said to differ" in said
    assert main([*arguments, "3"]) == 2
    assert "groups of 3 seeds were asked for and the table has 9 seeds" in capsys.readouterr().err
    assert main([*arguments, "2", "--where", "size=d16"]) == 2
    assert "sizes, expected 3 or more" in capsys.readouterr().err
    assert main([*arguments, "2", "--noise", "0.004"]) == 2
    assert "leave out a second table, --base, --target and --noise" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["both.csv"], "the table has no column arm, expected one that names the arm of each row"),
        (["both.csv", "--map", "arm=recipes"], "did you mean recipe?"),
        (["both.csv", "--map", "arm=seed,seed=", "--base", "7"], "the base arm 7 is not in column seed"),
        (["both.csv", "--map", "arm=recipe", "--where", "recipe=old"], "no row with recipe = old"),
        (["texts.csv", "--map", "arm=recipe"], "old has dataset=a and new has b: losses compare only"),
        (["old.csv", "old.csv"], "was given twice"),
        (["old.csv", "new.csv", "--base", "old"], "chooses among the arms of one table"),
        (["old.csv", "."], "points.parquet is not there"),
        (["old.csv", "both.csv", "--map", "arm=recipe"], "both has several arms in column recipe, old, new"),
        (["blank.csv", "--map", "arm=recipe"], "row 0 has no arm in column recipe (27 of 54 rows)"),
        (["both.csv", "--map", "arm=recipe", "--target", "much"], "expected a positive number such as 1e21"),
        (["both.csv", "--map", "arm=recipe", "--target=-1"], "expected a positive number such as 1e21"),
        (["both.csv", "--map", "arm=recipe", "--noise", "2"], "noise is 2: expected the standard deviation"),
        (
            ["both.csv", "--map", "arm=recipe", "--seed=-1"],
            "'-1' was given, expected a whole number from 0 to",
        ),
        (["both.csv", "--map", "arm=recipe", "--where", "size=d16"], "the arms have 2 sizes, expected 3"),
        (["old.csv", "--itself", "1", "--map", "seed=run"], "has no column run, expected the seed"),
    ],
)
def test_wrong_input_is_one_sentence(
    tables: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tables / each) if each.endswith((".csv", ".")) else each for each in arguments]
    assert main(paths) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
