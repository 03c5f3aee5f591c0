"""One line of the table: a published number beside the one that was obtained here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Rule = Literal["within", "relative", "at most", "information"]


@dataclass(frozen=True)
class Comparison:
    """`obtained` against `published` under a rule.

    within: they differ by at most `tolerance`.  relative: by at most that share of `published`.
    at most: `obtained` does not exceed `published`.  information: no verdict; `published` may be None.
    """

    quantity: str
    published: float | None
    obtained: float
    tolerance: float = 0.0
    rule: Rule = "within"

    @property
    def ok(self) -> bool | None:
        """Whether the number came out; None where the line is information only."""
        if self.published is None or self.rule == "information":
            return None
        if self.rule == "at most":
            return self.obtained <= self.published
        allowed = self.tolerance * (abs(self.published) if self.rule == "relative" else 1)
        return abs(self.obtained - self.published) <= allowed

    @property
    def allowed(self) -> str:
        """The tolerance in words."""
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
        return {True: "ok", False: "OFF", None: "information"}[self.ok]

    def to_dict(self) -> dict[str, Any]:
        return {
            "quantity": self.quantity,
            "published": self.published,
            "obtained": self.obtained,
            "rule": self.rule,
            "tolerance": self.tolerance,
            "ok": self.ok,
        }
