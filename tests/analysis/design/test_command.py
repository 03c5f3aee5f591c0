"""The command analysis.design, on a sweep and on a table of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.design.__main__ import main
from harness.grid.expansion import expand
from harness.recipe.spec import DataSpec
from harness.sweep.__main__ import load_settings
from tests import ROOT

SWEEP = str(ROOT / "results/chinchilla")
NEXT = ["--next", "4", "--spend", "2e13", "--target", "6e14"]


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of others: five sizes, four token counts, two of them from one trunk."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(20))
    frame = pd.DataFrame({"params": n, "tokens": d, "val": (1.7 + 400 * n**-0.34 + 410 * d**-0.28) * noise})
    frame["run"] = [f"{size:.0f}" for size in n]
    path = tmp_path_factory.mktemp("design") / "losses.csv"
    frame.to_csv(path, index=False)
    return str(path)


MAP = ["--map", "N=params,D=tokens,loss=val"]


def test_expected_errors_of_a_sweep_stand_beside_its_bootstrap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "design.json"
    assert main([SWEEP, "--target", "1e14", "--resamples", "100", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "65 runs in 25 cells; if the saturating law is true" in printed
    found = json.loads(out.read_text())
    expected = found["expected"]["errors"] | {"loss": found["expected"]["target_error"]}
    for key, value in expected.items():
        assert value == pytest.approx(found["bootstrap"][key], rel=0.3), key


def test_a_law_that_all_runs_exclude_is_not_expected(capsys: pytest.CaptureFixture[str]) -> None:
    """The fitted runs of results/mixture chose saturating; by all runs joint has a weight of .96."""
    assert main([str(ROOT / "results/mixture"), "--target", "1e13", "--resamples", "20"]) == 0
    assert "if the joint law is true" in capsys.readouterr().out


def test_next_cells_of_a_sweep_extend_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, out = tmp_path / "more.yaml", tmp_path / "more.json"
    assert main([SWEEP, *NEXT, "--out", str(grid), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"python -m harness.sweep +grid=cells cells={grid}" in printed
    assert "holds no checkpoints" in printed
    choice = json.loads(out.read_text())["choice"]
    assert choice["error_after"] < choice["error_before"]
    settings = load_settings(["+grid=cells", f"cells={grid}"]).settings
    assert settings.results_dir == SWEEP
    before = load_settings([], f"{SWEEP}/sweep.json").settings
    data = DataSpec("corpus", "tokenizer", 5.0, 196608, 16384)
    old = {cell.key: cell.role for cell in expand(before, data, 512)}
    new = {cell.key: cell.role for cell in expand(settings, data, 512)}
    assert old.items() <= new.items()
    assert len(new) == len(old) + len(choice["cells"])
    wanted = {(c["trunk"]["size"]["name"], c["n_tokens"], c["trunk"]["seed"]) for c in choice["cells"]}
    planned = expand(settings, data, 512)
    added = {(c.spec.rung, float(c.n_tokens), c.spec.seed) for c in planned if c.key not in old}
    assert added == wanted
    # What is printed as FLOPs is what the harness counts for new runs.
    flops = {(c.spec.rung, float(c.n_tokens)): c.flops for c in planned}
    for cell in choice["cells"]:
        size = cell["trunk"]["size"]
        stated = size["flops_per_token"] * cell["n_tokens"]
        assert flops[size["name"], cell["n_tokens"]] == pytest.approx(stated)


def test_a_table_of_others(losses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([losses, *MAP, "--law", "chinchilla", "--resamples", "0"]) == 0
    assert "20 runs in 20 cells; if the chinchilla law is true" in capsys.readouterr().out
    out = tmp_path / "next.csv"
    asked = ["--next", "3", "--spend", "1e21", "--target", "1e22", "--out", str(out)]
    assert main([losses, *MAP, *asked]) == 0
    chosen = pd.read_csv(out)
    assert 1 <= len(chosen) <= 3
    assert chosen.flops.sum() <= 1e21
    assert np.allclose(chosen.flops, 6 * chosen.N * chosen.D), "separate runs at 6·N·D"
    assert chosen.branch_of.isna().all()


def test_sizes_and_tokens_of_others_are_those_given(losses: str, tmp_path: Path) -> None:
    out = tmp_path / "next.csv"
    given = ["--sizes", "5e8,2B", "--tokens", "2e10,40B", "--out", str(out)]
    assert main([losses, *MAP, "--next", "4", "--spend", "1e21", "--target", "1e22", *given]) == 0
    chosen = pd.read_csv(out)
    assert set(chosen.N) <= {5e8, 2e9}
    assert set(chosen.D) <= {2e10, 4e10}


def test_trunks_of_others_are_branched(
    losses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "next.csv"
    asked = ["--next", "3", "--spend", "8e20", "--target", "1e22", "--sizes", "1e9", "--tokens", "1.6e11"]
    mapped = ["--map", "N=params,D=tokens,loss=val,cluster=run"]
    assert main([losses, *mapped, *asked, "--out", str(out)]) == 0
    assert "cool down over 20% of its tokens" in capsys.readouterr().out
    chosen = pd.read_csv(out)
    branches = chosen[chosen.branch_of.notna()]
    assert len(branches)
    for row in branches.itertuples():
        missing = 0.8 * (1.6e11 - 1e11)
        assert float(row.flops) == pytest.approx(6 * float(row.N) * (0.2 * 1.6e11 + missing), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([SWEEP, "--next", "4", "--target", "6e14"], "add --spend"),
        ([SWEEP, "--spend", "1e14"], "add --next 6"),
        ([SWEEP, "--next", "4", "--spend", "1e14"], "add --target"),
        (
            [SWEEP, "--next", "0", "--spend", "1e14", "--target", "6e14"],
            "whole number from 1 to 50",
        ),
        ([SWEEP, "--next", "100000", *NEXT[2:]], "whole number from 1 to 50"),
        ([SWEEP, "--out", "OUT"], "add --next 6 --spend FLOPS"),
        ([SWEEP, "--target", "1e3"], "expected one from 8.17e+10"),
        ([SWEEP, "--target", "1e30"], "expected one from"),
        ([SWEEP, "--next", "4", "--spend", "1e6", "--target", "6e14"], "give at least 8.17e+10"),
        ([SWEEP, *NEXT, "--sizes", "1e6"], "leave it out"),
        ([SWEEP, *NEXT, "--cooldown", "3"], "expected a share"),
        ([SWEEP, "--law", "kaplan_n"], "kaplan_n is no law in N and D"),
        ([SWEEP, "--law", "chinchila"], "chinchila"),
        ([SWEEP, "--estimator", "mean"], "no estimator"),
        ([str(ROOT / "results"), *NEXT], "give the folder of a finished sweep"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "out.yaml") if each == "OUT" else each for each in arguments]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err, printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(("sizes", "said"), [([1e8] * 6, "one_size"), (np.geomspace(1e7, 1e9, 6), "ratio")])
def test_a_table_that_tells_no_law(
    sizes: list[float], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n = np.array(sizes)
    d = 20 * n if said == "ratio" else np.geomspace(1e9, 1e11, 6)
    frame = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
    path = tmp_path / "runs.csv"
    frame.to_csv(path, index=False)
    assert main([str(path), *NEXT]) == 2
    words = {"one_size": "add a second and a third size", "ratio": "D/N is 20 in all 6 runs"}
    assert words[said] in capsys.readouterr().err
