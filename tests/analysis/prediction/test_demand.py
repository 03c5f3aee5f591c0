"""Tables of cheapest runs with inference: those of the plan, and what no size reaches."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from analysis.prediction.demand import demand_table, demanded_run
from analysis.prediction.predictor import Predictor
from tests.analysis.prediction.test_predictor import runs

DEMANDS = np.array([0.0, 1e10, 1e12])


@cache
def over_laws() -> Predictor:
    return Predictor.over_laws(runs(0.004), laws=["chinchilla", "joint"], resamples=80)


def test_table_holds_the_runs_of_a_plan() -> None:
    predictor = over_laws()
    best = predictor.best(flops=1e21)
    places = (np.array([each.value]) for each in (best.n, best.d, best.flops))
    found = demand_table(predictor, *places, DEMANDS[None])
    assert found.n[0, 0] == pytest.approx(best.n.value)
    assert found.training[0, 0] == pytest.approx(1e21, rel=5e-3)
    for column, demand in enumerate(DEMANDS):
        planned = demanded_run(predictor, best.loss.value, demand)
        assert planned.n.interval
        assert found.n[0, column] == pytest.approx(planned.n.value, rel=0.02)
        assert found.d[0, column] == pytest.approx(planned.d, rel=0.03)
        assert found.training[0, column] == pytest.approx(planned.training_flops, rel=0.02)
        ends = found.n_low[0, column], found.n_high[0, column]
        assert ends == pytest.approx(planned.n.interval, rel=0.03)


def test_a_size_in_a_table_costs_least_at_its_loss() -> None:
    predictor, demand = over_laws(), 1e11
    best = predictor.best(flops=1e21)
    places = (np.array([each.value]) for each in (best.n, best.d, best.flops))
    found = demand_table(predictor, *places, np.array([[demand]]))
    least = float(found.training[0, 0] * (1 + demand / 3 / found.d[0, 0]))
    alone = demanded_run(predictor, best.loss.value, demand)
    assert least == pytest.approx(alone.training_flops + alone.inference_flops, rel=5e-3)
    assert least < 1e21 * (1 + demand / 3 / best.d.value)
