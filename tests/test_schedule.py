"""Rates by step, and the order of trunk and branches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import InputError
from harness.train.schedule import Segment, branch_start, check_reachable, lr_factors, segments
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
