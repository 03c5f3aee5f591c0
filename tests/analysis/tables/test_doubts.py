"""Doubts that columns raise: another scale than nats per token, training logs, untuned cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.envelope import fit_envelope
from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.kaplan import fit_kaplan
from analysis.approaches.parametric import fit_law
from analysis.records.warning_codes import WarningCode
from analysis.tables.table import load_table
from analysis.uncertainty.table_warnings import table_warnings, with_doubts
from harness.records.errors import InputError
from tests import ROOT
from tests.fakes.surfaces import SMALL_JOINT, sweep_points

STORED = ROOT / "tests/stored/tables"
CLEAN = pd.read_csv(STORED / "clean.csv")
HISTORY = pd.read_csv(STORED / "history.csv")
SWEEP = pd.read_csv(STORED / "lr_sweep.csv")
LOGGED = {"N": "params", "D": "tokens_seen", "loss": "val_loss"}


def doubts(frame: pd.DataFrame, **mapping: str) -> list[tuple[WarningCode, str]]:
    return [(each.code, each.message) for each in load_table(frame, mapping=mapping).warnings]


@pytest.mark.parametrize("name", ["ppl", "perplexity", "val/ppl", "eval_perplexity", "validationPerplexity"])
def test_a_perplexity_is_not_taken_for_nats(name: str) -> None:
    frame = CLEAN.assign(loss=np.exp(CLEAN["loss"])).rename(columns={"loss": name})
    with pytest.raises(
        InputError, match=f"'{name}' holds perplexities by its name.*map '{name}' to perplexity"
    ):
        load_table(frame, mapping={"loss": name})
    table = load_table(frame, mapping={"perplexity": name})
    np.testing.assert_allclose(table.loss, CLEAN["loss"])
    assert f"loss = log of '{name}'" in str(table.read_as)


def test_a_perplexity_of_one_or_less_is_left_out() -> None:
    frame = CLEAN.assign(ppl=np.exp(CLEAN["loss"])).drop(columns="loss").astype({"ppl": object})
    frame.loc[:3, "ppl"] = [1.0, 0.0, -2.0, "diverged"]
    found = [entry.reason for entry in load_table(frame, mapping={"perplexity": "ppl"}).excluded]
    assert found[0] == "log of ppl is 0, expected a positive number"
    assert found[3] == "log of ppl is 'diverged'"
    assert len(found) == 4


@pytest.mark.parametrize("name", ["accuracy", "val_acc", "BLEU", "exact_match"])
def test_a_score_is_no_loss(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' holds a score by its name"):
        load_table(CLEAN.rename(columns={"loss": name}), mapping={"loss": name})


@pytest.mark.parametrize("name", ["log_ppl", "acc_loss", "nll", "val", "error"])
def test_other_names_are_believed(name: str) -> None:
    assert doubts(CLEAN.rename(columns={"loss": name}), loss=name) == []


@pytest.mark.parametrize("name", ["bpb", "bits_per_byte", "val/bpc"])
def test_bits_are_warned_of(name: str) -> None:
    ((code, text),) = doubts(CLEAN.rename(columns={"loss": name}), loss=name)
    assert code is WarningCode.LOSS_SCALE
    assert f"{name!r} is in bits by its name" in text


def test_losses_that_no_vocabulary_explains() -> None:
    ((code, text),) = doubts(CLEAN.assign(loss=np.exp(CLEAN["loss"])))
    assert code is WarningCode.LOSS_SCALE
    assert "17 of 20 losses lie above 12.5 nats per token" in text
    assert "the largest is 75.38" in text
    ((_, text),) = doubts(CLEAN.assign(size=32), vocab="size")
    assert "5 of 20 losses lie above 3.5 nats per token, the uniform guess over the voc" in text
    assert doubts(CLEAN.assign(size=32_000), vocab="size") == []


def test_losses_that_rise_with_compute() -> None:
    ((code, text),) = doubts(CLEAN.assign(loss=5 - CLEAN["loss"]))
    assert code is WarningCode.LOSS_SCALE
    assert "losses rise with compute" in text


def logged(**mapping: str) -> list[tuple[WarningCode, str]]:
    return [each for each in doubts(HISTORY, **LOGGED, **mapping) if each[0] is WarningCode.TRAINING_LOG]


def test_a_training_log_is_not_taken_for_end_points() -> None:
    ((_, text),) = logged()
    assert text.startswith(
        "300 rows of 5 sizes lie on rasters of token counts, as the steps of a training log"
    )
    assert "keep the last row of each run" in text
    assert "map 'run' to cluster" in text
    ((_, text),) = logged(cluster="run")
    assert "cluster" not in text


@pytest.mark.parametrize("every", [2, 4, 10])
def test_a_thinned_log_is_one_too(every: int) -> None:
    thinned = HISTORY[HISTORY["step"] % every == 0]
    assert WarningCode.TRAINING_LOG in {code for code, _ in doubts(thinned, **LOGGED)}


def test_a_log_without_the_name_of_the_run() -> None:
    codes = [code for code, _ in doubts(HISTORY.drop(columns="run"), **LOGGED)]
    assert WarningCode.TRAINING_LOG in codes


def test_uneven_steps_of_runs_with_names() -> None:
    uneven = HISTORY.groupby("run").nth([0, 1, 3, 7, 15, 31]).reset_index(drop=True)
    (text,) = (text for code, text in doubts(uneven, **LOGGED) if code is WarningCode.TRAINING_LOG)
    assert "rows of several token counts share a value of 'run'" in text
    # Branches of a trunk whose cluster is mapped are what they are said to be.
    codes = [code for code, _ in doubts(uneven, **LOGGED, cluster="run")]
    assert WarningCode.TRAINING_LOG not in codes


def test_ends_of_runs_are_no_log() -> None:
    last = HISTORY.groupby("run").tail(1)
    assert WarningCode.TRAINING_LOG not in {code for code, _ in doubts(last, **LOGGED)}
    named = CLEAN.assign(run=[f"r{row}" for row in range(len(CLEAN))])
    assert doubts(named) == []


def test_untuned_cells_name_the_setting_that_varies() -> None:
    ((code, text),) = doubts(SWEEP)
    assert code is WarningCode.UNTUNED_CELLS
    assert text.startswith(
        "rows of equal N and D differ by 1.4 to 2.6 % in loss, and 'lr' varies within them"
    )
    assert text.endswith("lr = 0.001 is the best in 20 of 20 cells")
    assert doubts(SWEEP[SWEEP["lr"] == 1e-3]) == []


def test_a_setting_under_any_name_is_found_by_what_it_does() -> None:
    ((_, text),) = doubts(SWEEP.rename(columns={"lr": "x"}))
    assert "'x' varies within them" in text
    shuffled = SWEEP.assign(x=np.random.default_rng(0).permutation(SWEEP["lr"])).drop(columns="lr")
    assert doubts(shuffled) == []


@pytest.mark.parametrize("name", ["seed", "replicate", "run_id"])
def test_replicates_are_no_settings(name: str) -> None:
    assert doubts(SWEEP.rename(columns={"lr": name})) == []


def test_seeds_beside_a_setting_that_stays_are_no_untuned_cells() -> None:
    rng = np.random.default_rng(0)
    noisy = pd.concat([CLEAN.assign(loss=CLEAN["loss"] * np.exp(0.003 * rng.standard_normal(20))), CLEAN])
    assert doubts(noisy.assign(lr=1e-3, seed=np.arange(40) // 20, seconds=rng.uniform(size=40))) == []


def test_untuned_cells_take_the_place_of_mixed_ones() -> None:
    spread = SWEEP.assign(loss=SWEEP["loss"] * (1 + 0.1 * (SWEEP["lr"] == 1e-2)))
    codes = [warning.code for warning in table_warnings(load_table(spread))]
    assert codes == [WarningCode.UNTUNED_CELLS]
    codes = [warning.code for warning in table_warnings(load_table(spread.drop(columns="lr")))]
    assert codes == [WarningCode.MIXED_CELLS]


def test_sizes_of_several_depths_are_said_of_a_sweep() -> None:
    points = sweep_points(SMALL_JOINT)
    assert table_warnings(load_table(points)) == ()
    points["n_layers"] = points["n_layers"].where(points["rung"] != "d96", 6)
    (doubt,) = table_warnings(load_table(points))
    assert (doubt.code, doubt.message[:32]) == (WarningCode.MOVING_DEPTH, "the models have 3 to 6 layers: a")
    assert table_warnings(load_table(points[points["rung"] == "d96"])) == ()
    assert doubt in with_doubts(fit_law(load_table(points), resamples=0), load_table(points)).warnings


def test_every_fit_carries_the_doubts_of_its_table() -> None:
    n, c = (a.ravel() for a in np.meshgrid(np.geomspace(3e7, 3e9, 7), np.geomspace(1e19, 1e21, 4)))
    d = c / (6 * n)
    frame = pd.DataFrame({"N": n, "D": d, "bits": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
    table = load_table(frame, mapping={"loss": "bits"})
    fits = [
        fit_law(table, resamples=0),
        fit_isoflop(table, resamples=0),
        *fit_envelope(table),
        *fit_kaplan(table),
    ]
    for fit in fits:
        assert WarningCode.LOSS_SCALE in {warning.code for warning in fit.warnings}
        assert str(fit.read_as).startswith("N = 'N', D = 'D', C = 6·N·D, loss = 'bits'")


def test_sizes_that_only_compute_tells_apart_are_no_cell() -> None:
    """A law of one axis reads a table without N, in which runs of equal D differ in C."""
    frame = SWEEP[SWEEP["lr"] == 1e-3].assign(C=6 * SWEEP["N"] * SWEEP["D"]).drop(columns="N")
    table = load_table(frame.assign(lr=np.arange(len(frame)) % 3), mapping={"C": "C"}, axes="dc")
    assert table.n_cells == len(table)
    assert "untuned_cells" not in [warning.code.value for warning in table.warnings]
