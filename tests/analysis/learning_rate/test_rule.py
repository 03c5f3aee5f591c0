"""The rule of the best rate in size and tokens: recovered, covered by its interval, handed on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.learning_rate.study import learning_rate_study
from analysis.plots.learning_rate import learning_rate
from analysis.records.learning_rate import RateRule
from harness.config.schema import OptimSettings
from harness.config.settings import load, plain
from harness.records.errors import InputError
from harness.records.files import read_table, write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from harness.sweep.learned_rates import write_rate_recipe
from tests.fakes.rates import BEST, RECIPE, rate_sweep, write_rate_folder

BATCHES = (128, 256, 512, 1024)
TOKENS = (524_288, 1_048_576, 2_097_152)
POWER = -0.3
FINE = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)


def hidden_rule(seed: int = 0, **options: Any) -> RateRule:
    chosen = {"groups": ("hidden",), "factors": FINE, "n_tokens": TOKENS, "power": POWER} | options
    study = learning_rate_study(rate_sweep(np.random.default_rng(seed), **chosen))
    return study.groups[0].rule


def test_a_planted_rule_comes_back_in_width_size_and_tokens() -> None:
    rule = hidden_rule(noise=1e-6)
    rate_64, exponent = BEST["hidden"]
    assert (rule.n_optima, rule.n_tokens) == (9, 1_048_576)
    assert rule.exponent == pytest.approx(exponent, abs=0.01)
    assert rule.tokens_exponent == pytest.approx(POWER, abs=0.01)
    assert rule.rate_64 == pytest.approx(rate_64 * 2**POWER, rel=0.01)
    # N grows as a power of width between 1 and 2, so its own power is smaller.
    assert exponent < rule.size_exponent < exponent / 2 * 0.9
    low, high = rule.size_exponent_interval
    assert low < rule.size_exponent < high


def test_intervals_cover_what_was_planted() -> None:
    """Nominal 90 %; 100 draws have a standard error of 3 %."""
    hits = []
    for seed in range(100):
        rule = hidden_rule(seed, noise=0.002)
        pairs = ((rule.exponent_interval, BEST["hidden"][1]), (rule.tokens_exponent_interval, POWER))
        hits.append([low < truth < high for (low, high), truth in pairs])
    covered = np.mean(hits, axis=0)
    assert (covered > 0.82).all(), covered
    assert (covered < 0.98).all(), covered


def test_one_token_count_gives_a_rule_in_width_alone() -> None:
    rule = hidden_rule(n_tokens=TOKENS[:1])
    assert rule.reason is None
    assert rule.tokens_exponent is None
    assert rule.exponent == pytest.approx(BEST["hidden"][1], abs=0.1)


def batch_rule(seed: int = 0, batches: tuple[int, ...] = BATCHES, **options: Any) -> RateRule:
    return hidden_rule(seed, batches=batches, batch_power=0.45, **{"n_tokens": TOKENS[:1]} | options)


def test_a_planted_power_of_the_batch_comes_back() -> None:
    rule = batch_rule(noise=1e-6)
    assert (rule.n_optima, rule.batch_tokens, rule.batch_reason) == (12, 362, None)
    assert rule.batch_exponent == pytest.approx(0.45, abs=0.01)
    assert rule.exponent == pytest.approx(BEST["hidden"][1], abs=0.01)
    assert rule.rate_64 == pytest.approx(BEST["hidden"][0] * (362 / 512) ** 0.45, rel=0.01)
    rule = batch_rule(noise=1e-6, n_tokens=TOKENS)
    assert (rule.batch_exponent, rule.tokens_exponent) == pytest.approx((0.45, POWER), abs=0.01)


def test_the_interval_of_the_power_of_the_batch_covers_it() -> None:
    """Nominal 90 %; 60 draws have a standard error of 4 %."""
    ends = [batch_rule(seed, noise=0.002, widths=(16, 96)).batch_exponent_interval for seed in range(60)]
    covered = np.mean([low < 0.45 < high for low, high in ends])
    assert 0.79 < covered < 0.99


def test_too_few_batches_give_no_power_and_leave_the_others_alone() -> None:
    rule = batch_rule(batches=BATCHES[2:], noise=1e-6)
    assert (rule.batch_exponent, rule.batch_exponent_interval, rule.batch_tokens) == (None, None, 724)
    assert rule.batch_reason.startswith("no power of the batch: optima count at 2 of 2 batches, and it")
    assert rule.exponent == pytest.approx(BEST["hidden"][1], abs=0.01)
    assert hidden_rule().batch_reason is None, "one batch needs no excuse"


def test_a_batch_that_follows_the_tokens_has_no_power_of_its_own() -> None:
    chosen = {"groups": ("hidden",), "factors": FINE, "noise": 1e-6}
    cells = [
        rate_sweep(np.random.default_rng(0), n_tokens=(n,), batches=(batch,), batch_power=0.45, **chosen)
        for n, batch in zip(TOKENS, BATCHES, strict=False)
    ]
    (group,) = learning_rate_study(pd.concat(cells)).groups
    assert group.rule.tokens_exponent == pytest.approx(0.45, abs=0.01)
    assert group.rule.batch_reason.startswith("no power of the batch of its own: it moves with")
    told = [(rule.n_tokens, rule.batch_tokens) for rule in group.rules]
    assert told == list(zip(TOKENS, BATCHES, strict=False))


def test_verdict_and_lines_of_width_tell_batches_apart() -> None:
    points = rate_sweep(
        np.random.default_rng(0), 1e-4, groups=("hidden",), factors=FINE, batches=BATCHES, batch_power=0.45
    )
    (group,) = learning_rate_study(points).groups
    assert [rule.batch_tokens for rule in group.rules] == list(BATCHES)
    assert "in batches of 1024 tokens: " in group.verdict
    assert "With the tokens of a batch, B, it varies as B^0.449 [0.44" in group.verdict
    assert len(learning_rate(group).axes) == len(BATCHES)


def test_optima_at_an_end_do_not_count() -> None:
    rule = hidden_rule(widths=(16, 48), best=BEST | {"hidden": (0.1, -0.8)})
    assert (rule.n_optima, rule.exponent) == (0, None)
    assert "0 of 6 optima count" in rule.reason


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A finished sweep in which the gain has no rule."""
    points = rate_sweep(
        np.random.default_rng(0), 1e-5, factors=FINE, n_tokens=TOKENS, power=POWER,
        best=BEST | {"gain": (0.1, 0.0)},
    )  # fmt: skip
    found = write_rate_folder(tmp_path / "lr", points)
    assert write_rate_recipe(found, learning_rate_study(points))
    return found


def test_the_next_sweep_takes_the_rule_as_its_recipe(folder: SweepFolder) -> None:
    kept = load(["+grid=smoke"]).optim
    optim = load(["+grid=smoke", f"optim={folder.optim}", "optim.head_lr=0.5"]).optim
    assert optim.hidden_lr == pytest.approx(BEST["hidden"][0] * 2**POWER, rel=0.01)
    assert optim.hidden_lr_exponent == pytest.approx(BEST["hidden"][1], abs=0.01)
    assert optim.head_lr == 0.5
    assert (optim.gain_lr, optim.gain_lr_exponent) == (kept.gain_lr, kept.gain_lr_exponent)
    assert (optim.beta2, optim.eps, optim.transfer) == (kept.beta2, kept.eps, "measured")


def test_intervals_stand_in_the_comments(folder: SweepFolder) -> None:
    text = folder.optim.read_text()
    comments = {line[2:].split(":")[0]: line for line in text.splitlines() if line.startswith("# ")}
    assert set(RECIPE) <= comments.keys()
    assert "(D/1048576)^−0.3000 [−0.3002, −0.2998]" in comments["hidden"]
    assert "as in the recipe, no rule" in comments["gain"]
    assert "90%" in text


def with_optim(folder: SweepFolder, *overrides: str) -> SweepFolder:
    """The sweep as if its runs had other optim settings."""
    record = read_sweep(folder.sweep)
    config = record.config | {"optim": plain(load(["+grid=lr", *overrides]).optim)}
    write_record(folder.sweep, replace(record, config=config))
    return folder


def written(folder: SweepFolder, **columns: object) -> OptimSettings:
    """The recipe of the sweep, with columns of its points as given."""
    points = read_table(folder.points).assign(**columns)
    write_table(folder.points, points)
    assert write_rate_recipe(folder, learning_rate_study(points))
    return load(["+grid=smoke", "optim.schedule=cosine", f"optim={folder.optim}"]).optim


def test_rules_that_are_off_are_not_written(folder: SweepFolder) -> None:
    assert "half_life" not in folder.optim.read_text()
    assert "depth" not in folder.optim.read_text()


def test_runs_of_one_token_count_each_hand_the_power_of_d_on(folder: SweepFolder) -> None:
    optim = written(with_optim(folder, "optim.schedule=cosine", "optim.reference_tokens=4194304"))
    assert optim.hidden_lr_tokens_exponent == pytest.approx(POWER, abs=0.01)
    assert optim.hidden_lr == pytest.approx(BEST["hidden"][0] * 8**POWER, rel=0.01)
    assert optim.reference_tokens == 4194304
    assert optim.gain_lr_tokens_exponent == 0


def test_rates_are_handed_on_at_the_reference_depth_and_batch(folder: SweepFolder) -> None:
    """The gain, without a rule, keeps its exponents; a depth that moved with the width is in that power."""
    rules = ("optim.hidden_lr_depth_exponent=-0.5", "optim.hidden_lr_batch_exponent=0.5")
    sweep = with_optim(folder, *rules, "optim.gain_lr_depth_exponent=-0.5")
    measured = BEST["hidden"][0] * 2**POWER
    optim = written(sweep, n_layers=12, batch_tokens=2048)
    assert optim.hidden_lr == pytest.approx(measured / 0.5 / 2, rel=0.01)
    assert (optim.hidden_lr_depth_exponent, optim.hidden_lr_batch_exponent) == (-0.5, 0.5)
    points = read_table(folder.points)
    optim = written(sweep, n_layers=points.d_model // 16, batch_tokens=2048)
    assert optim.hidden_lr == pytest.approx(measured / 2, rel=0.01)
    assert (optim.hidden_lr_depth_exponent, optim.hidden_lr_batch_exponent) == (0.0, 0.5)
    assert optim.gain_lr_depth_exponent == -0.5


def test_a_measured_power_of_the_batch_is_handed_on(folder: SweepFolder) -> None:
    """The rate of the recipe is that of the reference batch, whatever the power was taken to be before."""
    with_optim(folder, "optim.hidden_lr_batch_exponent=0.9", "optim.gain_lr_batch_exponent=0.7")
    points = rate_sweep(
        np.random.default_rng(0), 1e-5, factors=FINE, batches=BATCHES, batch_power=0.45,
        best=BEST | {"gain": (0.1, 0.0)},
    )  # fmt: skip
    assert write_rate_recipe(folder, learning_rate_study(points))
    optim = load(["+grid=smoke", f"optim={folder.optim}"]).optim
    assert optim.hidden_lr == pytest.approx(BEST["hidden"][0], rel=0.01)
    assert optim.hidden_lr_batch_exponent == pytest.approx(0.45, abs=0.01)
    assert optim.gain_lr_batch_exponent == 0.7, "without a rule it stays"
    assert "reference_batch_tokens: 512" in folder.optim.read_text()
    assert "·(B/362)^0.45" in folder.optim.read_text()
    few = points[points.batch_tokens >= BATCHES[2]]
    assert write_rate_recipe(folder, learning_rate_study(few))
    optim = load(["+grid=smoke", f"optim={folder.optim}"]).optim
    assert optim.hidden_lr_batch_exponent == 0.9
    assert optim.hidden_lr == pytest.approx(BEST["hidden"][0] * 2 ** (0.5 * (0.45 - 0.9)), rel=0.01)
    assert "(no power of the batch: optima count at 2 of 2 batches" in folder.optim.read_text()


def test_without_a_rule_there_is_no_recipe(folder: SweepFolder) -> None:
    points = rate_sweep(np.random.default_rng(0), widths=(16,))
    assert not write_rate_recipe(folder, learning_rate_study(points))
    assert not folder.optim.exists()


@pytest.mark.parametrize("content", [None, "- a\n", "{", ""])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "rates.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="optim=muon"):
        load(["+grid=smoke", f"optim={path}"])


def test_an_unknown_key_in_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text("hiden_lr: 0.1\n")
    with pytest.raises(InputError, match=r"did you mean optim\.hidden_lr"):
        load(["+grid=smoke", f"optim={tmp_path / 'rates.yaml'}"])
