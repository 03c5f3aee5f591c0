"""Plans: optima in closed form, inference demand against a minimiser, shapes of the recipe, bad input."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from analysis.approaches.parametric import fit_law
from analysis.fit import main as fit_main
from analysis.plan.__main__ import main
from analysis.plan.placement import placement
from analysis.plan.shape import data_of, planned_run
from analysis.prediction.demand import demanded_run
from analysis.prediction.predictor import Predictor
from harness.config.settings import load, plain
from harness.execution.devices import Devices
from harness.grid.expansion import expand
from harness.recipe import counting
from harness.records.errors import InputError
from harness.records.sweep_file import read_sweep
from harness.sweep.__main__ import load_settings
from tests import ROOT
from tests.analysis.prediction.test_predictor import alone, best_at, runs
from tests.fakes.surfaces import CHINCHILLA
from tests.small_sweeps import grid_cells

RESULTS = ROOT / "results"


@pytest.mark.parametrize("demand", [1e10, 1e12])
def test_inference_demand_is_the_minimum_at_equal_loss(demand: float) -> None:
    """6·N·D + 2·N·T over all (N, D) of one loss, against a scalar minimiser on the law itself."""
    e, a, b, alpha, beta = CHINCHILLA.theta
    loss = best_at(3e20)[2]

    def tokens(n: float) -> float:
        rest = loss - e - a * n**-alpha
        return (b / rest) ** (1 / beta) if rest > 0 else np.inf

    def total(log_n: float) -> float:
        n = np.exp(log_n)
        return 6 * n * tokens(n) + 2 * n * demand

    least = ((loss - e) / a) ** (-1 / alpha)
    found = minimize_scalar(total, bounds=(np.log(1.0001 * least), np.log(100 * least)), method="bounded")
    ours = demanded_run(alone(), loss, demand)
    assert ours.training_flops + ours.inference_flops == pytest.approx(found.fun, rel=2e-3)
    assert ours.n.value == pytest.approx(np.exp(found.x), rel=0.05)
    assert ours.d == pytest.approx(tokens(ours.n.value), rel=5e-3)
    assert 0 < ours.saved < 1


def test_without_demand_the_best_training_run_is_the_cheapest() -> None:
    n, d, loss = best_at(3e20)
    ours = demanded_run(alone(), loss, 0.0)
    assert (ours.n.value, ours.d) == pytest.approx((n, d), rel=0.05)
    assert ours.saved == pytest.approx(0, abs=2e-3)


def test_more_demand_asks_for_smaller_models_on_more_tokens() -> None:
    table = runs(0.003)
    predictor = Predictor.of_fit(fit_law(table, resamples=60), table)
    few, many = (demanded_run(predictor, best_at(3e20)[2], demand) for demand in (1e9, 1e12))
    assert many.n.value < few.n.value
    assert many.d > few.d
    assert many.n.interval is not None
    assert many.n.interval[0] < many.n.value < many.n.interval[1]


@pytest.mark.parametrize(("sweep", "depth"), [("chinchilla", 3), ("ladder", 7)])
def test_shape_is_one_that_the_recipe_of_the_sweep_trains(sweep: str, depth: int) -> None:
    record = read_sweep(RESULTS / sweep / "sweep.json")
    found = planned_run(record, "n_params_matmul", 1.0e6, 6e13)
    spec = found.cell.spec
    assert found.n == counting.n_params_matmul(spec.model) == pytest.approx(1.0e6, rel=0.25)
    assert found.cell.flops == pytest.approx(6e13, rel=0.03)
    assert spec.model.n_layers == depth
    assert spec.model.d_model % record.config["model"]["head_dim"] == 0
    assert spec.optim.lr.hidden == pytest.approx(0.006 * 64 / spec.model.d_model, rel=0.5)
    assert f"d_model: {spec.model.d_model}" in found.overrides[0]


def test_a_plan_has_the_usual_heads_beside_a_rung_of_its_width_with_others() -> None:
    record = read_sweep(RESULTS / "chinchilla" / "sweep.json")
    rungs = "grid.rungs=[16,{d_model: 96, n_heads: 12}]"
    stored = plain(load([rungs, "grid.extra=[]"], record.config))
    found = planned_run(replace(record, config=stored), "n_params_matmul", 3.8e5, 6e13)
    model = found.cell.spec.model
    assert (model.d_model, model.n_layers, model.n_heads, found.cell.spec.rung) == (96, 3, 6, "d96")
    assert "n_heads: 6" in found.overrides[0]


def test_overrides_add_one_cell_and_change_no_other() -> None:
    """The sweep's own command with them plans its cells with their roles, and one more that is held out."""
    record = read_sweep(RESULTS / "chinchilla" / "sweep.json")
    found = planned_run(record, "n_params_matmul", 1.0e6, 6e13)
    cells = expand(load(list(found.overrides), record.config), data_of(record), record.corpus.vocab_size)
    planned = {(cell.spec.rung, cell.spec.seed, cell.n_tokens, cell.role) for cell in cells}
    before = {(cell.rung, cell.seed, cell.n_tokens, cell.role) for cell in record.cells}
    assert planned - before == {(found.cell.spec.rung, 50, found.cell.n_tokens, "holdout")}
    assert before <= planned


def test_a_plan_is_a_file_that_a_sweep_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out, stored = tmp_path / "chinchilla", tmp_path / "plan.yaml", tmp_path / "plan.json"
    shutil.copytree(RESULTS / "chinchilla", folder)
    asked = ["--flops", "6e13", "--resamples", "20", "--device", "h100:3", "--json", str(stored)]
    assert main([str(folder), *asked, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    command = f"+grid=plan plan={out}"
    assert f"to train it: python -m harness.sweep {command}" in said
    settings = load_settings(command.split()).settings
    record = read_sweep(folder / "sweep.json")
    cells = expand(settings, data_of(record), record.corpus.vocab_size)
    (added,) = {cell.key for cell in cells} - {(each.run_id, each.n_tokens) for each in record.cells}
    (cell,) = (each for each in cells if each.key == added)
    run = json.loads(stored.read_text())["run"]
    assert (cell.role, cell.spec.rung, cell.n_tokens) == ("holdout", run["rung"], run["n_tokens"])
    # Four sequences are not split over three devices, and a small model leaves the one that trains waiting.
    placed = json.loads(stored.read_text())["placement"]
    assert placed["n_devices"] == 1
    assert placed["seconds"] > 10 * 6e13 / 989e12
    assert "on one of them it takes" in said


def test_a_run_that_does_not_fit_says_what_does() -> None:
    """With the peak that the user measured the time is compute over speed."""
    large = grid_cells("smoke", "grid.rungs=[12288]", "model.n_layers=96", "model.head_dim=128")[0].spec
    placed = placement(large, 10**9, Devices.parse("a100:8"), 0.5)
    assert placed.n_bytes > placed.capacity
    assert placed.remedy is not None
    assert re.match("(type|put|take) ", placed.remedy)
    flops = counting.train_flops_token(large.model) * 1e9
    speed = placed.n_devices * 0.5 * Devices.parse("a100").accelerator.peak(large.model.precision)
    assert placed.seconds == pytest.approx(flops / speed, rel=1e-3)
    small = grid_cells("smoke", "grid.rungs=[64]")[0].spec
    assert placement(small, 10**9, Devices.parse("a100:8"), None).remedy is None


def test_command_plans_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    asked = ["--flops", "1e15", "--inference-tokens", "1B", "--resamples", "60", "--json", str(out)]
    assert main([str(RESULTS / "chinchilla"), *asked]) == 0
    text = capsys.readouterr().out
    assert "plan for C = 10¹⁵" in text
    assert "to train it: python -m harness.sweep --from" in text
    assert "role: holdout" in text
    assert "times the largest fitted compute" in text
    assert "to do about extrapolation: python -m analysis.design " in text
    assert "--target 1e15" in text
    found = json.loads(out.read_text())
    low, high = found["prediction"]["n"]["interval"]
    assert low < found["run"]["n"] < high
    demand = found["demand"]
    assert demand["n"]["value"] < found["prediction"]["n"]["value"]
    unique = read_sweep(RESULTS / "chinchilla/sweep.json").corpus.n_train_tokens
    assert f"({demand['d'] / unique:.2g} epochs; the laws count every token as new)" in text
    largest = found["prediction"]["flops"]["value"] / found["prediction"]["factor"]
    assert f"FLOPs to train ({demand['training_flops'] / largest:.3g} × max C)" in text
    assert [each["code"] for each in found["warnings"]] == ["extrapolation"]


def test_a_size_below_the_smallest_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RESULTS / "chinchilla"), "--params", "3k", "--resamples", "0"]) == 2
    said = capsys.readouterr().err
    assert "3k parameters are less than any model of this recipe has" in said
    assert "17,408, which d_model=16 has" in said


def test_a_size_above_the_widest_model_is_refused() -> None:
    record = read_sweep(RESULTS / "chinchilla" / "sweep.json")
    with pytest.raises(InputError, match=r"1e\+16 parameters need a width above .*: ask for a smaller run"):
        planned_run(record, "n_params_matmul", 1e16, 1e30)


def test_a_run_that_repeats_its_text_too_often_is_no_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(RESULTS / "chinchilla"), "--tokens", "600M", "--resamples", "0"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "reads the text of the sweep 9.9 times and at most 4 are allowed" in said
    assert "to train it" not in said
    assert main([*asked, "--out", str(tmp_path / "plan.yaml")]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "plan.yaml").exists()


def test_a_fit_stands_for_its_runs_or_asks_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--flops", "1e14", "--resamples", "0"]
    assert main([str(RESULTS / "chinchilla/fits.json"), *asked]) == 0
    by_fits = capsys.readouterr().out
    assert main([str(RESULTS / "chinchilla"), *asked]) == 0
    assert by_fits == capsys.readouterr().out
    fit = tmp_path / "fit.json"
    columns = "N=params,D=tokens,loss=val_loss"
    fitted = [str(ROOT / "notebooks/losses.csv"), "--map", columns, "--law", "joint", "--resamples", "0"]
    assert fit_main([*fitted, "--json", str(fit)]) == 0
    capsys.readouterr()
    assert main([str(fit), *asked]) == 0
    by_fit = capsys.readouterr().out
    assert main([*fitted[:5], *asked]) == 0
    assert by_fit == capsys.readouterr().out
    written = json.loads(fit.read_text())
    for changes, words in (
        ({"table": None}, "holds a fit without its rows"),
        ({"table": written["table"] | {"path": "gone.csv"}}, "a fit of gone.csv, which is not there"),
        ({"table": written["table"] | {"sha256": "0"}}, "losses.csv, which has changed since: fit it again"),
    ):
        fit.write_text(json.dumps(written | changes))
        assert main([str(fit), *asked]) == 2
        assert words in capsys.readouterr().err


def test_the_fits_of_all_approaches_stand_for_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, table = tmp_path / "all.json", tmp_path / "losses.csv"
    shutil.copy(ROOT / "notebooks/losses.csv", table)
    columns = ["--map", "N=params,D=tokens,loss=val_loss"]
    assert fit_main([str(table), *columns, "--approach", "all", "--resamples", "0", "--json", str(fit)]) == 0
    asked = ["--flops", "1e14", "--resamples", "0"]
    capsys.readouterr()
    assert main([str(fit), *asked]) == 0
    by_fits = capsys.readouterr().out
    assert main([str(table), *columns, *asked]) == 0
    assert by_fits == capsys.readouterr().out


def test_a_plan_says_how_far_predictions_of_its_sweep_were_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    assert main([str(RESULTS / "compare"), "--flops", "6e12", "--resamples", "20", "--json", str(out)]) == 0
    (warning,) = json.loads(out.read_text())["warnings"]
    assert warning["message"].startswith(
        "predictions of this sweep were held against runs of up to 1.97 times"
    )
    said = capsys.readouterr().out
    assert warning["message"] in said
    assert "note: the sweep has 3 arms, and each trains a further cell: multiply its FLOPs by 3" in said


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    table, path = runs(0.003), tmp_path_factory.mktemp("table") / "theirs.csv"
    pd.DataFrame({"params": table.n, "D": table.d, "loss": table.loss}).to_csv(path, index=False)
    return str(path)


def test_hours_and_money_become_compute(
    foreign: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    table = [foreign, "--map", "N=params", "--resamples", "0", "--json", str(out)]
    device = ["--device", "a100:8", "--mfu", "0.5", "--price-per-hour", "2"]
    assert main([*table, "--hours", "1", *device]) == 0
    assert "1 h 00 min on 8 × a100 at 50 % of their peak, as typed, cost 16.00" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["prediction"]["flops"]["value"] == pytest.approx(8 * 312e12 * 0.5 * 3600)
    assert found["effort"]["cost"] == pytest.approx(16)
    assert main([*table, "--cost", "16", *device]) == 0
    assert json.loads(out.read_text())["effort"]["hours"] == pytest.approx(1)
    assert main([*table, "--hours", "2", "--throughput", "1e16"]) == 0
    assert json.loads(out.read_text())["prediction"]["flops"]["value"] == pytest.approx(7.2e19)


def test_a_table_of_perplexities_is_planned_from(foreign: str, tmp_path: Path) -> None:
    table, out = pd.read_csv(foreign), tmp_path / "plan.json"
    path = tmp_path / "perplexities.csv"
    table.assign(loss=np.exp(table.loss)).to_csv(path, index=False)
    found = []
    for source, scale in ((foreign, "nats"), (str(path), "perplexity")):
        asked = ["--loss-is", scale, "--flops", "1e20", "--resamples", "0", "--json", str(out)]
        assert main([source, "--map", "N=params", *asked]) == 0
        found.append(json.loads(out.read_text())["prediction"]["loss"]["value"])
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "one goal was expected out of --flops"),
        (["--flops", "1e20", "--params", "1B"], "got --flops, --params"),
        (["--flops", "much"], "expected a positive number such as 1e21"),
        (["--hours", "3"], "--hours needs what trains: add --device h100:8"),
        (["--flops", "1e20", "--price-per-hour", "2"], "--price-per-hour needs what trains"),
        (["--cost", "3", "--device", "h100:8"], "add --price-per-hour 2.5"),
        (["--hours", "3", "--device", "cpu"], "--device cpu has no data sheet"),
        (["--hours", "3", "--device", "h1000"], "is not known"),
        (["--hours", "3", "--device", "h100", "--mfu", "2"], "--mfu is 2"),
        (["--flops", "1e20", "--out", "plan.yaml"], "--out writes a run of a sweep's recipe"),
        (["--flops", "1e30"], "ask for"),
        (["--loss", "1.2"], "the lowest loss is no smaller than"),
        (["--flops", "1e20", "--count", "nparams"], "invalid choice: 'nparams'"),
        (["--flops", "1e20", "--resamples", "-5"], "expected a whole number from 0 to 100,000"),
        (["--flops", "1e20", "--seed", "-1"], "expected a whole number from 0 to"),
        (["--flops", "1e20", "--seed", "9" * 5000], "expected a whole number from 0 to"),
        (["--flops", "1e20", "--law", "kaplan_n"], "kaplan_n is no law in N and D"),
    ],
)
def test_mistakes_are_said(
    foreign: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([foreign, "--map", "N=params", "--resamples", "0", *options]) == 2
    assert words in capsys.readouterr().err


def test_results_without_a_law_plan_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RESULTS / "missing"), "--flops", "1e15"]) == 2
    assert main([str(RESULTS / "lr"), "--flops", "1e13"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: ") for line in errors)
