"""Verdicts on simulated truths: smooth curves are not jumps, jumps are found, too little is said so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.statistics.seed_groups import SeedSplit, judged, split_seeds
from analysis.emergence.study import judge_jumps
from analysis.records.emergence import Verdict
from tests.fakes.emergence import Truth, evaluations, flat, jump, knee, make_task, power_law

# Truths that are smooth per token: exponent in three steps, then one complication each.
NULLS: dict[str, tuple[Truth, dict[str, Any]]] = {
    "alpha .4": (power_law(0.4, 0.75), {"length": 6}),
    "alpha .7": (power_law(0.7, 1.2), {"length": 5}),
    "alpha 1.1": (power_law(1.1, 2.0), {"length": 4}),
    "item heterogeneity": (power_law(0.7, 1.2), {"length": 6, "difficulty": 0.5}),
    "noisy seeds": (power_law(0.7, 1.2), {"length": 5, "sd": 0.15}),
    "floor of the metric": (power_law(0.8, 1.2, floor=0.08), {"length": 5}),
    "floor by luck": (power_law(0.7, 1.2), {"length": 5, "chance": 0.1, "luck": 0.1}),
}
JUMPS = {
    f"{drop} at {centre}": (jump(drop, centre), {"length": 4})
    for drop, centre in ((1.3, 0.75), (1.8, 0.6), (2.5, 0.9))
}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def verdict_of(rng: np.random.Generator, truth: Truth, seed: int = 0, **options: Any) -> str:
    found = judge_jumps(evaluations(make_task(rng, "task", truth, **options)), axis="N", seed=seed)
    return found.tasks[0].verdict


def shares(truth: Truth, options: dict[str, Any], draws: int) -> Counter[str]:
    rng = np.random.default_rng(17)
    return Counter(verdict_of(rng, truth, **options) for _ in range(draws))


@pytest.mark.parametrize("name", NULLS)
def test_a_power_law_under_exact_match_is_an_artefact(name: str) -> None:
    found = shares(*NULLS[name], draws=2)
    assert found["transition"] == 0
    assert found["metric_artefact"] >= 1


@pytest.mark.parametrize("name", JUMPS)
def test_a_jump_per_token_is_a_transition(name: str) -> None:
    assert shares(*JUMPS[name], draws=2)["transition"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NULLS)
def test_rates_on_smooth_truths(name: str) -> None:
    found = shares(*NULLS[name], draws=100)
    assert found["transition"] <= 0.07 * 100, found
    assert found["metric_artefact"] >= 0.9 * 100, found


@pytest.mark.slow
@pytest.mark.parametrize("name", JUMPS)
def test_rates_on_jumps(name: str) -> None:
    assert shares(*JUMPS[name], draws=100)["transition"] >= 0.9 * 100


def test_six_sizes_are_too_few_whatever_they_show() -> None:
    rng = np.random.default_rng(0)
    for truth in (jump(2.5, 0.6), power_law(0.7, 1.2)):
        assert verdict_of(rng, truth, length=4, k=6) == "too_few_sizes"
    assert verdict_of(rng, jump(2.5, 0.5), length=4, k=7, sd=0.01) != "too_few_sizes"


def test_what_no_model_can_do_is_not_learned() -> None:
    rng = np.random.default_rng(1)
    assert verdict_of(rng, flat(2.33), length=1, chance=0.1, sd=0.01) == "not_learned"
    # The format is learned, which lowers the NLL, but nothing beyond guessing.
    assert verdict_of(rng, power_law(0.02, 2.5), length=4, sd=0.01) == "not_learned"


def test_a_rise_is_no_jump() -> None:
    rng = np.random.default_rng(8)
    assert verdict_of(rng, lambda x: np.log(1.2) + np.log(2.0) - jump(1.5, 0.75)(x), length=2) in (
        "inconclusive",
        "not_learned",
        "smooth",
    )


def test_improvement_that_exact_match_cannot_show_is_below_its_resolution() -> None:
    rng = np.random.default_rng(2)
    assert verdict_of(rng, power_law(0.5, 2.0), length=40) == "below_resolution"


def test_a_jump_that_exact_match_does_not_show_is_not_said_of_both_metrics() -> None:
    rng = np.random.default_rng(9)
    assert verdict_of(rng, jump(1.5, 0.6), length=60, sd=0.02) == "unseen_transition"


def test_a_gradual_late_fall_is_no_transition() -> None:
    rng = np.random.default_rng(3)
    found = Counter(verdict_of(rng, knee(0.3, 4, 0.01), length=4) for _ in range(3))
    assert found["delayed_onset"] >= 2
    assert found["transition"] == 0


def test_a_jump_on_a_slope_is_a_transition_and_its_share_is_said() -> None:
    rng = np.random.default_rng(10)
    task = make_task(rng, "task", jump(1.2, 0.75, 0.2, alpha=0.3), 4)
    (found,) = judge_jumps(evaluations(task), axis="N").tasks
    assert found.verdict == Verdict.TRANSITION
    assert found.sharpness.share == pytest.approx(1.2 / (1.2 + 0.3 * np.log(10) * 1.5), abs=0.15)
    assert f"{found.sharpness.share:.0%} of the fall" in found.words
    assert found.power is None


def test_a_width_about_the_limit_is_not_resolved() -> None:
    rng = np.random.default_rng(11)
    task = make_task(rng, "task", jump(1.5, 0.75, 0.6), 4)
    (found,) = judge_jumps(evaluations(task), axis="N").tasks
    assert found.verdict == Verdict.WIDTH_UNRESOLVED
    assert found.label == "sharp or gradual: width not resolved"
    assert found.width is not None
    assert found.width.lower is not None
    assert found.width.lower < 0.6
    assert found.width.upper is None or found.width.upper > 0.6


def test_smooth_metric_alone_is_judged_without_words_on_the_metric() -> None:
    rng = np.random.default_rng(12)
    runs = [make_task(rng, name, truth, 4)[0] for name, truth in
            (("smooth", power_law(0.7, 1.2)), ("jump", jump(1.5, 0.75)))]  # fmt: skip
    frame = pd.concat(runs)[["N", "seed", "task", "nll_per_token"]]
    columns = {"N": "N", "seed": "seed", "task": "task", "smooth": "nll_per_token"}
    found = judge_jumps(frame, mapping=columns, axis="N")
    labels = {task.task: task.label for task in found.tasks}
    assert labels == {
        "smooth": "smooth in the one metric measured", "jump": "transition in the one metric measured"
    }  # fmt: skip
    assert ["nothing is said about artefacts of the metric" in text for text in found.warnings] == [True]
    assert found.tasks[0].words.endswith("exact match was not measured.")
    assert all(word not in found.verdict for word in ("artefact", "every metric", "both metrics"))


def test_errors_that_come_together_are_told_from_independent_ones() -> None:
    rng = np.random.default_rng(4)
    assert verdict_of(rng, power_law(0.6, 1.5), length=8, together=True) == "dependent_errors"


def test_noise_that_could_hide_a_jump_is_inconclusive_with_its_power() -> None:
    rng = np.random.default_rng(5)
    task = make_task(rng, "task", power_law(0.25, 0.6), 4, k=7, seeds=1, sd=0.2)
    (found,) = judge_jumps(evaluations(task), axis="N").tasks
    assert found.verdict == Verdict.INCONCLUSIVE
    assert found.power is not None
    assert found.power < 0.8
    assert f"would be seen in {found.power:.0%} of cases" in found.words


def split(values: np.ndarray) -> SeedSplit:
    return split_seeds(values, at=1e6)


def test_many_seeds_at_one_size_are_a_mixture_or_shift_together() -> None:
    rng = np.random.default_rng(6)
    two = split(np.concatenate([rng.normal(-1, 0.1, 6), rng.normal(0.5, 0.1, 12)]))
    low, one = judged([two, split(rng.normal(0, 0.3, 16))])
    assert low.mixture
    assert low.n_low == 6
    assert not one.mixture
    assert one.n_low is None
    (alone,) = judged([split(rng.normal(0, 0.3, 16))])
    assert alone.power > 0.8
    assert one.power < alone.power, "power is that of the corrected test"


def test_mixtures_are_corrected_for_the_number_of_tasks() -> None:
    """Of sweeps whose 56 tests all see one group, one in twenty finds a mixture; uncorrected, nearly all."""
    rng = np.random.default_rng(7)
    alarms, single = 0, 0
    for _ in range(100):
        splits = [split(values) for values in rng.normal(0, 1, (56, 16))]
        alarms += any(group.mixture for group in judged(splits))
        single += any(each.p < 0.05 for each in splits)
    assert alarms <= 11  # 99 % of the time at a true rate of 5 %
    assert single > 80


def test_the_headline_says_what_seeds_show() -> None:
    rng = np.random.default_rng(8)
    tasks = [make_task(rng, name, power_law(0.25, 0.6), 4, k=2, seeds=16, sd=0.1) for name in ("one", "two")]
    found = judge_jumps(evaluations(*tasks), axis="N")
    assert "seeds of one size in two groups, of 4 tests: none" in found.verdict
