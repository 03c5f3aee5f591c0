"""`analysis.fit` on tables as people have them: the same numbers as on the plain table, or one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.fit import main
from tests import ROOT

pytestmark = pytest.mark.usefixtures("few_starts")

STORED = ROOT / "tests/stored/tables"
CLEAN = pd.read_csv(STORED / "clean.csv")
PLAIN = CLEAN.to_csv(index=False)
# By an own fit with scipy: sum of Huber's loss of log loss, delta 1e-3.
RIGHT = {"E": 1.720175, "A": 425.857, "alpha": 0.344043, "B": 1013.390, "beta": 0.336355}
RIGHT_A = 0.494350
OF_LOGARITHMS = {"E": 1.72018, "alpha": 0.344045, "beta": 0.336356}  # of perplexities with six digits
BEST_OF_CELLS = {"E": 1.721955, "alpha": 0.344653, "beta": 0.336326}
NAMED = CLEAN.rename(columns={"N": "params", "D": "tokens"})


def people(value: float) -> str:
    return f"{value / 1e9:g}B" if value >= 1e9 else f"{value / 1e6:g}M"


TABLES = {
    "a blank after the comma": (PLAIN.replace(",", ", "), "csv", ""),
    "blanks in the mapping": (PLAIN.replace(",", ", "), "csv", "D= D,loss= loss"),
    "status of a tracker": (CLEAN.assign(status="FINISHED", run_id="r").to_csv(index=False), "csv", ""),
    "words for sizes": (CLEAN.assign(N=CLEAN.N.map(people)).to_csv(index=False), "csv", ""),
    "words in part": (PLAIN.replace("\n20000000,", "\n20M,"), "csv", ""),
    "words for all": (
        CLEAN.assign(N=CLEAN.N.map(people), D=CLEAN.D.map(people)).to_csv(index=False),
        "csv",
        "",
    ),
    "semicolons": (PLAIN.replace(",", ";"), "CSV", ""),
    "a comment first": ("# exported by hand\n" + PLAIN, "csv", ""),
    "blanks": (PLAIN.replace(",", " "), "txt", ""),
    "records": (NAMED.to_json(orient="records", indent=1), "json", "N=params,D=tokens"),
    "lines of records": (NAMED.to_json(orient="records", lines=True), "jsonl", "N=params,D=tokens"),
    "a comma in a name": (
        NAMED.rename(columns={"tokens": "tokens, all"}).to_csv(index=False),
        "csv",
        'N=params,D="tokens, all"',
    ),
    "a bar in a name": (NAMED.rename(columns={"params": "a|b"}).to_csv(index=False), "csv", "N=a|b,D=tokens"),
}  # fmt: skip


def fitted(path: Path, *options: str) -> dict[str, object]:
    out = path.with_name("fit.json")
    assert main([str(path), *options, "--resamples", "0", "--json", str(out)]) == 0
    found: dict[str, object] = json.loads(out.read_text())
    return found


def assert_right(found: dict[str, object], right: dict[str, float]) -> None:
    params = found["params"]
    assert isinstance(params, dict)
    for name, value in right.items():
        assert params[name] == pytest.approx(value, rel=2e-6), name


@pytest.mark.parametrize("case", TABLES)
def test_the_same_numbers_as_the_plain_table(case: str, tmp_path: Path) -> None:
    text, suffix, mapping = TABLES[case]
    path = tmp_path / f"runs.{suffix}"
    path.write_text(text)
    found = fitted(path, *(["--map", mapping] if mapping else []))
    assert_right(found, RIGHT)
    frontier = found["frontier"]
    assert isinstance(frontier, dict)
    assert frontier["a"] == pytest.approx(RIGHT_A, abs=1e-6)
    assert (found["nobs"], found["excluded"]) == (20, [])


def test_a_perplexity_is_refused_and_its_logarithm_is_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    ppl = [float(f"{value:.6g}") for value in np.exp(CLEAN["loss"])]
    CLEAN.drop(columns="loss").assign(ppl=ppl).to_csv(path, index=False)
    assert main([str(path), "--map", "loss=ppl"]) == 2
    assert "'ppl' holds perplexities by its name" in capsys.readouterr().err
    found = fitted(path, "--map", "perplexity=ppl")
    assert_right(found, OF_LOGARITHMS)
    assert "loss = log of 'ppl'" in capsys.readouterr().out


def test_untuned_cells_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    path = STORED / "lr_sweep.csv"
    assert main([str(path), "--resamples", "0"]) == 0
    assert (
        "warning untuned_cells (widens the interval): rows of equal N and D differ by 1.4 to 2.6 %"
        in capsys.readouterr().out
    )


def test_a_condition_finds_a_number_in_any_spelling(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes((STORED / "lr_sweep.csv").read_bytes())
    assert_right(fitted(path, "--where", "lr=1e-3"), BEST_OF_CELLS)


def test_a_training_log_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--map", "N=params,D=tokens_seen,loss=val_loss", "--resamples", "0"]
    assert main([str(STORED / "history.csv"), *arguments]) == 0
    out = capsys.readouterr().out
    assert "warning training_log (blocks the quote): 300 rows of 5 sizes lie on rasters" in out
    assert "every row is a cluster of its own" in out


def test_reasons_of_rows_that_are_left_out_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    frame = CLEAN.astype({"loss": object}).assign(state=["finished"] * 19 + ["running"])
    frame.loc[[3, 5], "loss"] = ["diverged", "NaN"]
    frame.to_csv(path, index=False)
    for approach in ("parametric", "all"):
        assert main([str(path), "--resamples", "0", "--approach", approach]) == 0
        out = capsys.readouterr().out
        assert "1 left out: loss is 'diverged' (row 3)" in out
        assert "1 left out: loss is not a number (row 5)" in out
        assert "1 left out: state is running (row 19)" in out
        assert "read as: N = 'N', D = 'D', C = 6·N·D, loss = 'loss'; 'state' tells" in out


@pytest.mark.parametrize("asked", [["--approach", "all"], ["--predict", "C=1e19"], ["--report"]])
def test_seeds_of_few_cells_leave_out_laws_of_more_parameters(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five cells with three seeds each hold five parameters; laws of six do not stop the others."""
    cells = CLEAN[CLEAN.N.isin(sorted(set(CLEAN.N))[:3]) & CLEAN.D.isin(sorted(set(CLEAN.D))[:2])][:5]
    runs = pd.concat([cells.assign(loss=cells.loss * factor) for factor in (1, 1.004, 0.997)])
    path = tmp_path / "runs.csv"
    runs.to_csv(path, index=False)
    asked = [*asked, str(tmp_path / "out.html")] if asked == ["--report"] else asked
    assert main([str(path), *asked, "--resamples", "5"]) == 0
    assert main([str(path), "--law", "joint"]) == 2
    assert "15 rows of 5 different cells for the 6 parameters of joint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (PLAIN.replace("\n20000000,", "\n20M?,"), [], r"N is '20M\?' in row 0 \(3 more rows are"),
        ("Step,a,a__MIN,a__MAX\n1,2,2,2\n", [], "export of a chart.*one row a finished run: melt it"),
        ("width,1e+18,3e+18\nw64,1.07,—\n", ["--map", "N=params"], "numbers as names.*melt it"),
        (PLAIN, ["--map", "N="], r"leaves out N, which is needed.*\(--map\)$"),
        (PLAIN, ["--map", "N=a, b"], "--map has ' b' without '='.*quotes around a name"),
        (PLAIN, ["--seed", "-1"], "'-1' was given, expected a whole number from 0 to"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(
    text: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    assert main([str(path), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error.strip()), error
