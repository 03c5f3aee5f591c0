"""Every fit says whether its law describes the rows: few false alarms, wrong ones found, better named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from analysis.tables.table import LossTable
from analysis.uncertainty.adequacy import adequacy, failures, nested_test
from tests.analysis.uncertainty.test_coverage import SATURATING, SURFACES, single_runs, trunks
from tests.fakes.tables import additive, joint, joint_with_offset, ladder, saturates

Maker = Callable[[np.random.Generator], LossTable]
TRUTH = SURFACES["chinchilla"]
TRUE_LAWS: dict[str, tuple[Maker, str]] = {
    "single runs": (lambda rng: single_runs(TRUTH, "grid", 0.003, rng), "chinchilla"),
    "budgets": (lambda rng: single_runs(TRUTH, "isoflop", 0.003, rng), "chinchilla"),
    "ladder": (lambda rng: ladder(additive, rng), "chinchilla"),
    "joint": (lambda rng: ladder(joint_with_offset, rng), "joint"),
    "no offset": (lambda rng: ladder(joint, rng), "joint_e0"),
    "trunks of one seed": (lambda rng: trunks(TRUTH, 1, rng), "chinchilla"),
    "trunks of three seeds": (lambda rng: trunks(TRUTH, 3, rng), "chinchilla"),
    "saturating": (lambda rng: trunks(SATURATING, 3, rng), SATURATING.law),
}
WRONG_LAWS: dict[str, tuple[Maker, str]] = {
    "additive for joint": (lambda rng: ladder(joint, rng), "chinchilla"),
    "additive for saturating": (lambda rng: ladder(saturates, rng), "chinchilla"),
    "additive without seeds": (lambda rng: ladder(joint_with_offset, rng, seeded=()), "chinchilla"),
    "no offset for additive": (lambda rng: single_runs(TRUTH, "grid", 0.003, rng), "joint_e0"),
    "quadrature for additive": (lambda rng: ladder(additive, rng), "quadrature"),
}


def rejected(make: Maker, law: str, count: int) -> int:
    """How many of the simulated tables reject the law."""
    found = 0
    for seed in range(count):
        table = make(np.random.default_rng(seed))
        found += any(failures(law, adequacy(table, law, seed), nested_test(table, law, seed)))
    return found


def most_alarms(tables: int, share: float = 0.05) -> int:
    """More false alarms than this happen to a true share of `share` once in a thousand suites."""
    return int(stats.binom.ppf(0.999, tables, share))


@pytest.mark.parametrize("case", ["single runs", "no offset", "trunks of three seeds"])
def test_a_true_law_is_seldom_rejected(case: str) -> None:
    assert rejected(*TRUE_LAWS[case], 10) <= most_alarms(10)


@pytest.mark.parametrize("case", WRONG_LAWS)
def test_a_wrong_law_is_rejected(case: str) -> None:
    assert rejected(*WRONG_LAWS[case], 4) == 4


@pytest.mark.slow
@pytest.mark.parametrize("case", TRUE_LAWS)
def test_false_alarms_in_full(case: str) -> None:
    assert rejected(*TRUE_LAWS[case], 200) <= most_alarms(200, 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG_LAWS)
def test_power_in_full(case: str) -> None:
    assert rejected(*WRONG_LAWS[case], 60) >= 57
