"""Adequacy tests and the contest of laws on surfaces whose law is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.averaging.average import EXCLUDED
from analysis.contest.adequacy import CANDIDATES, CONTEST_RULE, candidates, contest
from analysis.laws.saturating import name_of
from analysis.records.warning_codes import WarningCode
from analysis.solve.problem import checked_problem
from analysis.solve.search import multi_start
from analysis.uncertainty.adequacy import (
    adequacy,
    gamma_test,
    lack_of_fit,
    lack_of_fit_warning,
    structure,
)
from harness.records.json_files import to_json
from tests.fakes.tables import LIMITS, SURFACES, additive, joint, ladder, saturates, split

WITHOUT_LIMITS = tuple(law for law in CANDIDATES if law != "saturating")
JOINT = ladder(joint, np.random.default_rng(1))
ADDITIVE = ladder(additive, np.random.default_rng(1))
NO_CUTS = np.empty(0)  # rollouts stand beside the weights and do not choose


def test_the_wrong_law_is_found_out() -> None:
    found = adequacy(JOINT, "chinchilla")
    assert found.lack_of_fit_p < 1e-4
    assert found.gamma_test_p < 1e-6
    assert {trend.axis for trend in found.structure if trend.p < 0.01} >= {"N×D"}
    assert found.verdict.startswith("chinchilla does not describe these runs")
    warning = lack_of_fit_warning(found, "chinchilla")
    assert warning is not None
    assert warning.code is WarningCode.LACK_OF_FIT
    json.dumps(to_json(found), allow_nan=False)


@pytest.mark.parametrize(("table", "law"), [(JOINT, "joint"), (JOINT, "joint_e0"), (ADDITIVE, "chinchilla")])
def test_the_right_law_passes(table, law: str) -> None:
    found = adequacy(table, law)
    assert f"{law} describes these runs" in found.verdict
    assert found.residual_rms < 0.006
    assert lack_of_fit_warning(found, law) is None


def test_right_laws_are_rarely_rejected() -> None:
    """Noise without trunk effects: the F test of lack of fit holds its level (5 % of 40: at most 6)."""
    p_values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        table = ladder(additive, rng, noise=0.0)
        noisy = replace(table, loss=table.loss * np.exp(0.003 * rng.standard_normal(len(table))))
        p_values.append(lack_of_fit(noisy, "chinchilla"))
    assert sum(p < 0.05 for p in p_values if p is not None) <= 6


def test_without_seeds_lack_of_fit_is_unknown() -> None:
    table = ladder(joint, np.random.default_rng(0), seeded=())
    found = adequacy(table, "joint_e0")
    assert found.lack_of_fit_p is None
    assert found.seed_sd is None
    assert "no repeated cell" in found.verdict
    assert lack_of_fit_warning(found, "joint_e0") is None


def test_gamma_test_needs_both_axes() -> None:
    assert gamma_test(JOINT, "kaplan_n") is None
    assert gamma_test(JOINT, "joint") == gamma_test(JOINT, "chinchilla")


def test_a_size_trend_is_located() -> None:
    shifted = replace(ADDITIVE, loss=ADDITIVE.loss * np.exp(0.02 * np.cos(2 * np.log(ADDITIVE.n))))
    found = {trend.axis: trend.p for trend in structure(shifted, "kaplan_d_offset")}
    assert found["N"] < 1e-6


@pytest.mark.parametrize(
    ("surface", "law", "wrong"), [("additive", "chinchilla", "quadrature"), ("joint", "joint", "chinchilla")]
)
def test_the_contest_keeps_the_true_law_and_excludes_a_wrong_one(surface: str, law: str, wrong: str) -> None:
    for seed in range(4):
        below, _ = split(ladder(SURFACES[surface], np.random.default_rng(seed)))
        entrants = contest(below, at=NO_CUTS)
        assert sum(entrant.chosen for entrant in entrants) == 1
        weights = {entrant.law: entrant.weight for entrant in entrants}
        assert sum(weights.values()) == pytest.approx(1)
        assert weights[law] > EXCLUDED > weights[wrong], weights


def test_contest_rows() -> None:
    entrants = contest(JOINT)
    rows = [entrant.to_row(entrant.chosen) for entrant in entrants]
    assert [row.law for row in rows] == list(candidates(JOINT)) == list(WITHOUT_LIMITS)
    assert sum(row.chosen for row in rows) == 1
    assert len({len(entrant.rolled) for entrant in entrants}) == 1
    assert all(law in CONTEST_RULE for law in CANDIDATES)


def test_the_saturating_law_competes_where_the_table_has_its_limits() -> None:
    name = "saturating(5.3000,6.2383)"
    assert candidates(ladder(saturates, np.random.default_rng(0))) == WITHOUT_LIMITS
    chosen = []
    for seed in range(4):
        below, _ = split(ladder(saturates, np.random.default_rng(seed), limits=True))
        assert set(candidates(below)) == {*WITHOUT_LIMITS, name}
        chosen += [entrant.law for entrant in contest(below, at=NO_CUTS) if entrant.chosen]
    assert chosen == [name] * 4


@pytest.mark.parametrize("surface", sorted(set(SURFACES) - {"saturates"}))
def test_the_saturating_law_is_not_trusted_where_it_does_not_hold(surface: str) -> None:
    for seed in range(2):
        below, _ = split(ladder(SURFACES[surface], np.random.default_rng(seed), limits=True))
        (chosen,) = (entrant.law for entrant in contest(below, at=NO_CUTS) if entrant.chosen)
        assert not chosen.startswith("saturating")


def test_a_special_case_that_does_not_hold_is_not_chosen() -> None:
    entrants = contest(JOINT, ("joint_e0", "chinchilla"))
    assert {entrant.law: entrant.chosen for entrant in entrants} == {"joint_e0": True, "chinchilla": False}


def test_without_cuts_weights_decide() -> None:
    few = JOINT.select(np.isin(JOINT.n, np.unique(JOINT.n)[:2]))
    few = few.select(np.arange(len(few)) < 7)
    entrants = contest(few)
    assert all(entrant.rollout_rms is None for entrant in entrants)
    best = max(entrants, key=lambda entrant: entrant.weight)
    assert [entrant.law for entrant in entrants if entrant.chosen] == [best.law]


def test_near_cells_do_not_tell_the_joint_law_from_the_saturating_one_but_far_cells_do() -> None:
    name = name_of(*LIMITS)
    near, far = [], []
    for seed in range(4):
        below, above = split(ladder(saturates, np.random.default_rng(seed), limits=True))
        entrants = {entrant.law: entrant.rollout_rms for entrant in contest(below, ("joint", name))}
        near.append((entrants["joint"] or 0) / (entrants[name] or 1))
        problems = [checked_problem(below, law, "gls") for law in ("joint", name)]
        estimates = [multi_start(each, np.random.default_rng(0)).theta for each in problems]
        errors = [
            np.log(each.law.value(theta, above.n, above.d) / saturates(above.n, above.d))
            for each, theta in zip(problems, estimates, strict=True)
        ]
        far.append(np.abs(errors).max(axis=1))
    assert np.median(near) < 1.5
    joint_error, own_error = np.mean(far, axis=0)
    assert joint_error > 1.5 * own_error
