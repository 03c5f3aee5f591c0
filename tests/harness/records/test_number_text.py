"""Estimates and their intervals are rounded together: what is inside looks inside, and widths are seen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records.number_text import (
    DASH,
    decimals,
    estimate,
    number,
    power_of_ten,
    si,
    significant,
    together,
)

SPELLINGS = {"number": number, "si": si, "significant": significant, "decimals": decimals}
FACTORS = {"T": 1e12, "B": 1e9, "M": 1e6, "k": 1e3}


def value_of(text: str) -> float:
    """The number that a text spells."""
    text = text.replace(",", "").replace("−", "-")
    if found := re.fullmatch(r"(-?)(?:([\d.]+)×)?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text):
        sign, lead, power = found.groups()
        plain = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        return float(f"{sign}{lead or 1}e{plain}")
    if text[-1] in FACTORS:
        return float(text[:-1]) * FACTORS[text[-1]]
    return float(text)


@pytest.mark.parametrize(
    ("value", "ends", "spell", "text"),
    [
        (0.00623, (0.0061, 0.0065), number, "0.0062 [0.0061, 0.0065]"),
        (0.536, (0.502, 0.565), number, "0.536 [0.502, 0.565]"),
        (2.034e7, (2.031e7, 2.036e7), number, "2.03×10⁷ [2.03×10⁷, 2.04×10⁷]"),
        (20_310, (20_300, 20_340), si, "20.31k [20.3k, 20.34k]"),
        (0.5, (0.5, 0.5), number, "0.500 [0.500, 0.500]"),
        (9.96e14, (9.95e14, 9.99e14), number, "9.96×10¹⁴ [9.95×10¹⁴, 9.99×10¹⁴]"),
        (0.5, None, number, "0.500"),
        (0.5, (None, 1.0), number, "0.500"),
        (float("nan"), (float("nan"), 1.0), number, DASH),
    ],
)
def test_an_estimate_as_text(value, ends, spell, text) -> None:  # type: ignore[no-untyped-def]
    assert estimate(value, ends, spell=spell) == text


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(
    middle=st.floats(-1e15, 1e15).filter(lambda x: abs(x) > 1e-9),
    below=st.floats(0, 3),
    above=st.floats(0, 3),
    scale=st.sampled_from([1e-6, 1e-4, 1e-2, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_an_estimate_looks_inside_its_interval(
    spelling: str, middle: float, below: float, above: float, scale: float
) -> None:
    low, high = middle - scale * below * abs(middle), middle + scale * above * abs(middle)
    shown, between = together(middle, (low, high), spell=SPELLINGS[spelling])
    ends = [value_of(text) for text in between[1:-1].split(", ")]
    assert ends[0] <= value_of(shown) <= ends[1]
    if high - low > 1e-4 * max(abs(low), abs(high)) and spelling != "decimals":
        assert ends[0] < ends[1], f"{between} hides a width"


def test_digits_of_a_power_of_ten() -> None:
    assert power_of_ten(3.456e12) == "3.5×10¹²"
    assert power_of_ten(3.456e12, 3) == "3.46×10¹²"
    assert (significant(None), decimals(None)) == (DASH, DASH)
