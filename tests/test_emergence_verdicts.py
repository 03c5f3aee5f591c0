"""Verdicts on simulated truths: smooth curves are not jumps, jumps are found, too little is said so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from fake_emergence import Truth, evaluations, jump, make_task, power_law

from analysis.emergence.study import study

SPAN = 1.5  # decades of N that eleven sizes at √2 spacing cover
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
    found = study(evaluations(make_task(rng, "task", truth, **options)), axis="N", seed=seed)
    return str(found["tasks"][0]["verdict"])


def shares(truth: Truth, options: dict[str, Any], draws: int) -> Counter[str]:
    rng = np.random.default_rng(17)
    return Counter(verdict_of(rng, truth, **options) for _ in range(draws))


@pytest.mark.parametrize("name", NULLS)
def test_a_power_law_under_exact_match_is_an_artefact(name: str) -> None:
    found = shares(*NULLS[name], draws=3)
    assert found["transition"] == 0
    assert found["metric_artefact"] >= 2


@pytest.mark.parametrize("name", JUMPS)
def test_a_jump_per_token_is_a_transition(name: str) -> None:
    assert shares(*JUMPS[name], draws=3)["transition"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NULLS)
def test_rates_on_smooth_truths(name: str) -> None:
    found = shares(*NULLS[name], draws=200)
    assert found["transition"] <= 0.07 * 200, found
    assert found["metric_artefact"] >= 0.9 * 200, found


@pytest.mark.slow
@pytest.mark.parametrize("name", JUMPS)
def test_rates_on_jumps(name: str) -> None:
    assert shares(*JUMPS[name], draws=200)["transition"] >= 0.9 * 200
