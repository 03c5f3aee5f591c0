"""Rates by step, and the order of trunk and branches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.recipe.schedule import Segment, branch_start, check_reachable, lr_factors, segments
from harness.recipe.spec import ScheduleSpec
from harness.records.errors import InputError
from tests.recipes import RASTER, run_spec

SPEC = run_spec()


def test_warmup_then_constant_then_linear_to_zero():
    n_tokens = 16 * RASTER
    trunk, branch = segments(SPEC, [n_tokens])
    rates = np.concatenate([lr_factors(SPEC.schedule, s, s.first, s.last - s.first) for s in (trunk, branch)])
    assert len(rates) == SPEC.n_steps(n_tokens)
    np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[branch.first - 1] == 1.0
    falling = np.diff(rates[branch.first - 1 :])
    np.testing.assert_allclose(falling, falling[0], rtol=1e-4)
    assert rates[-1] == pytest.approx(0.0, abs=1e-6)


def test_cosine_ends_at_its_floor():
    spec = run_spec(kind="cosine", n_steps=64)
    (only,) = segments(spec, [spec.batch_tokens * 64])
    rates = lr_factors(spec.schedule, only, 0, 64)
    assert rates.max() <= 1.0
    assert rates[-1] == pytest.approx(0.0, abs=1e-6)
    assert only == Segment(0, 64)


def test_linear_falls_evenly_from_the_warmup_to_its_floor():
    spec = run_spec(schedule=ScheduleSpec("linear", 4, 0.25, 0.1, 24))
    (only,) = segments(spec, [spec.batch_tokens * 24])
    rates = lr_factors(spec.schedule, only, 0, 24)
    # 20 steps take the rate from 1 to .1; the warm-up of four ends in the first of them.
    np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0 - 0.9 / 20], rtol=1e-6)
    np.testing.assert_allclose(np.diff(rates[3:]), -0.9 / 20, rtol=1e-4)
    assert rates[-1] == pytest.approx(0.1)


def test_branches_of_a_constant_schedule_have_no_steps():
    spec = run_spec(kind="constant")
    ends = [4 * RASTER, 7 * RASTER]
    plan = segments(spec, ends)
    steps = [spec.n_steps(n) for n in ends]
    assert plan == [
        Segment(0, steps[0]), Segment(steps[0], steps[0], ends[0]),
        Segment(*steps), Segment(steps[1], steps[1], ends[1]),
    ]  # fmt: skip
    assert (lr_factors(spec.schedule, plan[2], 4, 8) == 1.0).all()
    assert branch_start(spec, ends[0]) == steps[0]


@given(st.lists(st.integers(4, 60), min_size=1, max_size=6, unique=True))
def test_every_branch_leaves_the_trunk_where_the_trunk_stands(multiples):
    tokens = [m * RASTER for m in multiples]
    position, ends = 0, []
    for segment in segments(SPEC, tokens):
        assert segment.first == position
        assert segment.first % SPEC.log_interval == segment.last % SPEC.log_interval == 0
        assert segment.last > segment.first
        if segment.n_tokens is None:
            position = segment.last
        else:
            assert segment.first == branch_start(SPEC, segment.n_tokens)
            ends.append(segment.last * SPEC.batch_tokens)
    assert ends == sorted(tokens)


def test_tokens_off_the_raster_are_refused_with_the_nearest_count():
    with pytest.raises(InputError, match=f"use {5 * RASTER}"):
        check_reachable(SPEC, 5 * RASTER + 1)
    with pytest.raises(InputError, match="at least four"):
        check_reachable(SPEC, RASTER)
    check_reachable(SPEC, 5 * RASTER)
