"""Comparison of an obtained number with a published one under a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Rule = Literal["within", "relative", "at most", "information"]


@dataclass(frozen=True)
class Comparison:
    """An obtained number, a published one, and the rule that compares them.

    Attributes:
        quantity: name of the quantity, with its unit if it has one.
        published: the number that the authors print; None without one.
        obtained: the number of the refit.
        tolerance: allowed difference, absolute for `within` and a share of `published` for `relative`.
        rule: `within` and `relative` bound the difference, `at most` bounds `obtained` by `published`.
            `information` compares nothing.

    >>> Comparison("alpha", 0.3473, 0.3470, 0.001).verdict
    'ok'
    >>> Comparison("A", 477.84, 500.0, 0.01, "relative").verdict
    'OFF'
    """

    quantity: str
    published: float | None
    obtained: float
    tolerance: float = 0.0
    rule: Rule = "within"

    @property
    def ok(self) -> bool | None:
        """Whether the obtained number agrees; None if nothing is compared."""
        if self.published is None or self.rule == "information":
            return None
        if self.rule == "at most":
            return self.obtained <= self.published
        allowed = self.tolerance * (abs(self.published) if self.rule == "relative" else 1)
        return abs(self.obtained - self.published) <= allowed

    @property
    def allowed(self) -> str:
        """The tolerance as shown; empty if nothing is compared."""
        if self.ok is None:
            return ""
        words = {
            "within": f"±{self.tolerance:g}",
            "relative": f"±{100 * self.tolerance:g} %",
            "at most": "at most",
        }
        return words[self.rule]

    @property
    def verdict(self) -> str:
        """`ok`, `OFF` or `information`."""
        return {True: "ok", False: "OFF", None: "information"}[self.ok]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON types."""
        return {
            "quantity": self.quantity,
            "published": self.published,
            "obtained": self.obtained,
            "rule": self.rule,
            "tolerance": self.tolerance,
            "ok": self.ok,
        }
