"""Holm's correction."""

from __future__ import annotations

import pytest

from analysis.holm import holm


def test_order_is_kept_and_no_p_value_lowered() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9]) == [0.9]
    assert holm([]) == []
