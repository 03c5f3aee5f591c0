"""What to do about warnings: weight, order, each remedy once, and commands that can be typed."""

from __future__ import annotations

import shlex
from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import pytest

from analysis.advice import ADVICE, FOREMOST, Source, next_steps
from analysis.design.__main__ import main as design
from analysis.fit import main as fit
from analysis.records.warning_codes import SEVERITY, FitWarning, Severity, WarningCode
from tests import ROOT

pytestmark = pytest.mark.usefixtures("few_starts")

SWEEP = Source.sweep(Path("results/chinchilla"), 2e13)
READ = Namespace(table=Path("my losses.csv"), mapping="N=params,D=tokens", scale=None)
TABLE = Source.of(READ, 3.8e13)


def warned(*codes: WarningCode) -> list[FitWarning]:
    return [FitWarning(code, "") for code in codes]


def test_every_kind_has_a_weight_and_a_remedy_in_the_order_of_its_weight() -> None:
    assert set(ADVICE) == set(SEVERITY) == set(WarningCode)
    order = list(Severity)
    weights = [order.index(SEVERITY[code]) for code in ADVICE]
    assert all(one <= other for one, other in pairwise(weights))
    assert set(weights) == {0, 1, 2}


def test_a_remedy_stands_once_and_names_what_asks_for_it() -> None:
    few = warned(WarningCode.FEW_TOKENS, WarningCode.FLAT_VALLEY, WarningCode.FEW_SIZES)
    (line,) = next_steps(few, SWEEP)
    assert line == (
        "to do about few_sizes, few_tokens, flat_valley: python -m analysis.design results/chinchilla "
        "--next 4 --spend 2e13 --target 2e14 --out more.yaml"
    )
    (line,) = next_steps(few[:1], TABLE)
    assert "analysis.design 'my losses.csv' --map N=params,D=tokens --next 4" in line
    assert line.endswith("--out more.csv")


def test_only_the_gravest_ask_for_something() -> None:
    lines = next_steps(warned(*WarningCode), SWEEP)
    assert len(lines) <= FOREMOST
    assert all(any(code in line for code in list(ADVICE)[:FOREMOST]) for line in lines)
    assert next_steps(warned(WarningCode.INTERPOLATED, WarningCode.EDGE_OPTIMUM), SWEEP) == []


def test_grids_are_trained_by_sweeps_alone_and_cells_follow_from_laws_alone() -> None:
    along = warned(WarningCode.COLLINEAR)
    assert next_steps(along, SWEEP) == ["to do about collinear: python -m harness.sweep +grid=chinchilla"]
    assert next_steps(along, TABLE) == [f"to do about collinear: {ADVICE[WarningCode.COLLINEAR].remedy}"]
    alone = Source.sweep(Path("results/kaplan"), None)
    assert "analysis.design" not in next_steps(warned(WarningCode.FEW_SIZES), alone)[0]


@pytest.mark.parametrize(
    "table",
    [
        ["results/chinchilla/points.parquet"],
        ["notebooks/losses.csv", "--map", "N=params,D=tokens,loss=val_loss"],
        ["notebooks/losses.csv", "--map", "D=tokens", "--count", "params", "--loss", "val_loss"],
    ],
)
def test_the_command_that_a_fit_asks_for_can_be_typed(
    table: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("results", "notebooks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    assert fit([*table, "--resamples", "0"]) == 0
    (line,) = (each for each in capsys.readouterr().out.splitlines() if "analysis.design" in each)
    arguments = shlex.split(line.partition("python -m analysis.design ")[2])
    assert design(arguments) == 0
    assert Path(arguments[-1]).exists()
