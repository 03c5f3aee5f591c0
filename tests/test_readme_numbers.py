"""Numbers of README are those of committed tables and files, and what it shows is what commands print."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.compare.__main__ import main as compare_main
from analysis.curves.__main__ import main as curves_main
from analysis.design.__main__ import main as design_main
from analysis.fit import main as fit_main
from analysis.plan.__main__ import main as plan_main
from analysis.records.fits import read_study
from analysis.records.forecast import read_forecast
from analysis.same_law import main as same_law_main
from tests import ROOT

TEXT = (ROOT / "README.md").read_text()


def test_the_losses_to_try_are_those_of_a_committed_sweep() -> None:
    points = pd.read_parquet(ROOT / "results/chinchilla-standard/points.parquet")
    points = points[(points.status == "done") & points.role.isin(["fit", "holdout"])]
    own = {"params": "n_params_matmul", "tokens": "n_tokens", "val_loss": "loss", "seed": "seed"}
    found = pd.read_csv(ROOT / "notebooks/losses.csv")
    assert list(found) == [*own, "trunk"]
    assert found.trunk.tolist() == (points.rung + "-" + points.seed.astype(str)).tolist()
    for name, column in own.items():
        np.testing.assert_allclose(found[name], points[column].astype(float), atol=5e-5)


def test_the_floor_that_is_missed_is_that_of_the_committed_sweep() -> None:
    fits = json.loads((ROOT / "results/chinchilla-synthetic/fits.json").read_text())
    (e,) = (each for each in fits["averages"] if each["quantity"] == "E")
    ends = f"[{e['low']:.2f}, {e['high']:.2f}]"
    said = f"Its floor is {fits['floor']:.3f} nats; E over the laws, {ends}, misses it"
    assert said in " ".join(TEXT.split())
    assert "the interval lies below it" in fits["verdict"]


def test_what_the_quick_example_shows_is_in_its_tables() -> None:
    """How far the hold-out reaches, how wide its intervals are, and what missed its largest run."""
    folder = ROOT / "results/chinchilla"
    forecast = read_forecast(folder / "forecast.json")
    scored = read_study(folder / "fits.json").forecast
    assert scored
    points = pd.read_parquet(folder / "points.parquet").query("status == 'done'")
    fitted, held_out = (points[points.role == role] for role in ("fit", "holdout"))
    n, d, c = (held_out[name].max() / fitted[name].max() for name in ("n_params_matmul", "n_tokens", "flops"))
    ends = [abs(end / cell.predicted - 1) for cell in scored.cells for end in (cell.low, cell.high)]
    largest = max(scored.cells, key=lambda cell: cell.flops)
    (additive,) = (each for each in forecast.losers if each.law == "chinchilla")
    (beyond,) = (cell.predicted for cell in additive.cells if cell.key == largest.key)
    text = " ".join(TEXT.split())
    for said in (
        f"reach {n:.2g} times the largest fitted N, {d:.2g} times the largest fitted D and {int(c)} times",
        f"is predicted to {abs(largest.error_percent):.0f} % by runs of at most 1/{int(c)} of its compute",
        f"The intervals reach {100 * min(ends):.1f} to {100 * max(ends):.1f} % to each side",
        f"misses the largest run by {abs(largest.error_percent):.1f} %. Chinchilla's additive law, fitted to "
        f"the same runs, puts it {100 * (beyond / largest.loss - 1):.0f} % too high",
    ):
        assert said in text


TWO_SWEEPS = ("chinchilla", "chinchilla-standard")
TRUNKS = "trunk + branch minus tuned cosine, nats"


def row(name: str) -> str:
    """A row of README's table of results, which tests of `analysis.summary` hold to the committed files."""
    return next(line for line in TEXT.splitlines() if line.startswith(f"| {name} |"))


def test_numbers_of_the_running_text_are_those_of_tables_and_files() -> None:
    text = " ".join(TEXT.split())
    points = pd.read_parquet(ROOT / "results/chinchilla/points.parquet").query("status == 'done'")
    fitted, largest = points[points.role == "fit"], points[points.role != "reference"].n_params_matmul.max()
    sizes = sorted(set(fitted.n_params_matmul))
    between = f"{sizes[0] / 1e3:.0f} to {sizes[-1] / 1e3:.0f} thousand"
    words = {3: "three", 4: "four", 5: "five"}
    rms, far = re.findall(r"held-out cells was off by (\S+) % RMS .*? by (\S+) % at ≥ 20×", text)[0]
    exponents = [
        float(end)
        for count in ("6ND", "exact FLOPs")
        for ends in re.findall(r"\[([^]]*)\]", row(f"a under {count}"))
        for end in ends.split(", ")
    ]
    gaps = [float(gap.replace("−", "-")) for gap in re.findall(r"(?<=[ |;])−?0\.\d+(?= \[)", row(TRUNKS))]
    higher = re.search(r"loss of swiglu at equal N and D: (\S+) \[", text)
    deep = [read_study(ROOT / f"results/{name}/fits.json").forecast for name in ("ladder", "mixture")]
    assert higher
    inside, all_cells = zip(
        *[(sum(c.inside for c in each.cells), len(each.cells)) for each in deep if each], strict=True
    )
    both = pd.concat(pd.read_parquet(ROOT / f"results/{name}/points.parquet") for name in TWO_SWEEPS)
    ranges = [
        f"{both[column].min() / 1e3:.0f} to {both[column].max() / 1e3:.0f} thousand"
        for column in ("n_params", "n_params_matmul")
    ]
    older = read_study(ROOT / "results/chinchilla-standard/fits.json").forecast
    assert older
    reached = max(cell.factor for cell in older.cells)
    sealed = read_forecast(ROOT / "results/chinchilla-standard/forecast.json")
    (additive,) = (each for each in sealed.losers if each.law == "chinchilla")
    widest = max(cell.high / cell.predicted - 1 for cell in additive.cells)
    of_trunks = pd.read_parquet(ROOT / "results/chinchilla-standard/points.parquet")
    limits = of_trunks[["unigram_nats", "vocab_size"]].drop_duplicates()
    for said in (
        f"they have {ranges[0]} parameters, N of {ranges[1]}, and",
        f"It covers {len(older.cells)} cells, of which one lies at {reached:.1f} times the largest fitted",
        f"The intervals of *chinchilla* in the second column reach {100 * widest:.0f} % to each side",
        f"the numbers are {limits.unigram_nats.item():.4f} and {np.log(limits.vocab_size.item()):.4f}",
        f"runs of {words[len(sizes)]} sizes N, {between} weights",
        f"has {largest / sizes[-1]:.1f} times the size",
        f"forecast losses are off by {rms} % RMS. At the one cell beyond 20 times the compute they are off "
        f"by {far} %",
        f"both counts of FLOPs a is {min(exponents):.2f} to {max(exponents):.2f}",
        f"the branch has the lower loss. It is lower by up to {-min(gaps):.2f} nats here from d32 on",
        f"compared at equal N and D: that of swiglu is {higher[1]} % higher",
        f"{inside[0]} of {all_cells[0]} held-out losses lie inside on [results/ladder]",
        f"and {inside[1]} of {all_cells[1]} on [results/mixture]",
        f"in our two such sweeps {sum(inside)} of {sum(all_cells)} held-out losses lay inside",
    ):
        assert said in text


NUMBER = re.compile(r"[0-9]+(?:[.][0-9]+)?")


DECISIONS: dict[str, Callable[[list[str]], int]] = {
    "fit": fit_main,
    "predict": fit_main,
    "plan": plan_main,
    "design": design_main,
    "compare": compare_main,
    "forecast": curves_main,
    "same_law": same_law_main,
}


@pytest.mark.parametrize("name", DECISIONS)
def test_decisions_are_what_the_commands_print(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stretch of each output, with lines wrapped; other processors may move a last digit."""
    text = TEXT if name != "same_law" else (ROOT / "analysis/README.md").read_text()
    before, rest = text.split(f"<!-- {name}: begin -->")
    (shown,) = re.findall(r"```text\n(.*?)```", rest.split(f"<!-- {name}: end -->")[0], re.DOTALL)
    arguments = before.rstrip().splitlines()[-2].partition("python -m ")[2]
    monkeypatch.chdir(tmp_path)
    for folder in ("results", "notebooks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    assert DECISIONS[name](shlex.split(arguments)[1:]) == 0
    words = capsys.readouterr().out.split()
    shown = " ".join(shown.split())
    stretches = (words[at : at + len(shown.split())] for at in range(len(words)))
    alike = [
        " ".join(each) for each in stretches if NUMBER.sub("#", " ".join(each)) == NUMBER.sub("#", shown)
    ]
    assert alike, " ".join(words)
    printed = alike[-1]
    values = [[float(found) for found in NUMBER.findall(text)] for text in (printed, shown)]
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_the_curves_to_try_are_those_of_a_committed_sweep() -> None:
    """Means over 16 rows, two runs without their second half; README says where these ended."""
    folder = ROOT / "results/chinchilla-standard"
    points, curves = (pd.read_parquet(folder / f"{name}.parquet") for name in ("points", "curves"))
    points = points[(points.seed == 22) & (points.n_tokens == 8_388_608) & (points.role != "reference")]
    shown = pd.read_csv(ROOT / "notebooks/curves.csv")
    left_out = []
    for point in points.sort_values("d_model").itertuples():
        own = curves[curves.run_id == point.run_id]
        branch = own[own.point_id == point.point_id]
        trunk = own[own.point_id.isna() & (own.step < branch.step.min())]
        rows = pd.concat([trunk, branch]).sort_values("step")
        means = rows.groupby(np.arange(len(rows)) // 16).agg({"step": "max", "train_loss": "mean"})
        found = shown[shown.run == point.rung]
        assert set(found.params) == {point.n_params_matmul}
        if len(found) < len(means):
            left_out.append(f"{means.train_loss.iloc[-1]:.3f}")
            means = means[means.step <= means.step.max() / 2]
        assert list(found.step) == list(means.step)
        np.testing.assert_allclose(found.loss, means.train_loss, atol=6e-5)
    assert f"the two reached {' and '.join(left_out)}" in TEXT
