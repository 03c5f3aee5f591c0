"""The command that asks whether two sweeps follow one law."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.contest.agreement import Agreement, compare_laws
from analysis.same_law import main, read_points, verdict
from analysis.tables.table import load_table
from harness.records.paths import SweepFolder
from tests import ROOT

FIRST, SECOND = (str(ROOT / "results" / name) for name in ("chinchilla", "chinchilla-standard"))


def test_two_sweeps_of_one_recipe_follow_one_law(capsys: pytest.CaptureFixture[str]) -> None:
    """The second has other seeds and longer runs, and four fifths of its cells in the range of the first."""
    assert main([FIRST, SECOND, "--resamples", "100"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"27 of 32 cells of {SECOND} lie in the range of {FIRST}. There, at equal N and D")
    assert [line.split(":")[0].strip() for line in said.splitlines()[1:7]] == [
        "d16", "d32", "d48", "d64", "d96", "all cells",
    ]  # fmt: skip
    assert f"losses of {SECOND} by the law of {FIRST}: RMS error 0." in said
    assert f"losses of {FIRST} by the law of {SECOND}: RMS error 0." in said
    assert f"verdict: {SECOND} follows the law of {FIRST}, as far as these runs tell" in said
    assert "would have been found with probability 0.8" in said


def test_verdicts() -> None:
    table = load_table(read_points(Path(FIRST)), count="n_params_matmul")
    same = compare_laws(table, table, resamples=100)
    assert "deep follows the law of wide, as far as these runs tell" in verdict(same, "wide", "deep")

    def said(shift: float) -> str:
        found: Agreement = replace(same, p=0.001, shift=shift, shift_interval=(shift - 0.01, shift + 0.01))
        return verdict(found, "wide", "deep")

    assert "another law than wide: its losses differ by 2.02 [1.01, 3.05] % on average (p =" in said(0.02)
    assert "another law than wide: its losses differ by −1.98 [−2.96, −1.00] % on average" in said(-0.02)
    assert "another law than wide: not on average, but its slopes in N and D differ" in said(0.001)


def test_other_texts_and_missing_tables_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([FIRST, str(ROOT / "results/chinchilla-synthetic")]) == 2
    assert "compare only on the same text and tokenizer" in capsys.readouterr().err
    assert main([FIRST, str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {SweepFolder(tmp_path).points} was expected")
    assert main([FIRST, SECOND, "--resamples", "3"]) == 2
    assert capsys.readouterr().err == (
        "error: argument --resamples: '3' was given, expected a whole number from 100 to 100,000; --help "
        "explains the options\n"
    )
