"""Schedules as people describe them: a kind, a warm-up, a decay and a last rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from analysis.laws.annealing import Schedule
from harness.records.errors import InputError, near

KINDS = ("constant", "cosine", "linear", "wsd")
EXAMPLE = "wsd,warmup=2000,decay=0.2,final=0"
KEYS = ("warmup", "decay", "final")
TURNS = 40  # knots of a planned decay


@dataclass(frozen=True)
class Plan:
    """A described schedule; rates are relative to the peak.

    Attributes:
        kind: `constant`, or how the rate falls: `cosine` or `linear` from the warm-up to the end, `wsd`
            linearly at the end.
        warmup: steps of the linear warm-up.
        decay: share of the steps that the decay of `wsd` takes.
        final: last rate as a share of the peak.
    """

    kind: str
    warmup: float = 0.0
    decay: float = 0.2
    final: float = 0.0

    def rates(self, steps: Array, last: float) -> Array:
        """Return the rates at some steps of a run of `last` steps, relative to the peak [steps]."""
        rising = np.minimum(1.0, steps / self.warmup) if self.warmup else np.ones_like(steps)
        begin = last * (1 - self.decay) if self.kind == "wsd" else self.warmup
        done = np.clip((steps - begin) / max(last - begin, 1e-9), 0, 1)
        if self.kind == "constant":
            return rising
        falling = 0.5 * (1 + np.cos(np.pi * done)) if self.kind == "cosine" else 1 - done
        return np.asarray(np.minimum(rising, self.final + (1 - self.final) * falling))

    def until(self, last: float) -> Schedule:
        """Return the whole schedule of a run of `last` steps, with a peak of 1."""
        steps = np.unique(np.append(np.linspace(0, last, TURNS + 1), self._turns(last)))
        return Schedule.logged(steps, self.rates(steps, last))

    def after(self, steps: Array, lr: Array, last: float) -> Schedule:
        """Return logged rates as far as they go, and the plan from there to the last step.

        The warm-up is that of the logged rates.
        """
        peak = float(lr.max())
        warm = float(steps[int(np.argmax(lr >= 0.999 * peak))])
        plan = Plan(self.kind, warm, self.decay, self.final)
        ahead = np.unique(np.append(np.linspace(steps[-1], last, TURNS + 1), plan._turns(last)))
        ahead = ahead[ahead > steps[-1]]
        return Schedule.logged(np.append(steps, ahead), np.append(lr, peak * plan.rates(ahead, last)))

    def _turns(self, last: float) -> Array:
        """Steps at which the slope of the rate changes."""
        turns = [self.warmup, last * (1 - self.decay)] if self.kind == "wsd" else [self.warmup]
        return np.array([step for step in turns if 0 < step < last])


def parse_plan(text: str) -> Plan:
    """Return the plan of a text such as `wsd,warmup=2000,decay=0.2`; raises InputError for any other."""
    kind, *pairs = (part.strip() for part in text.split(","))
    if kind not in KINDS:
        raise InputError(
            f"there is no schedule called {kind!r}{near(kind, KINDS)}: use one of {', '.join(KINDS)}, as in "
            f"{EXAMPLE}",
            "schedule",
        )
    values: dict[str, float] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in KEYS:
            raise InputError(
                f"the schedule has {key!r}: expected {', '.join(KEYS)}, as in {EXAMPLE}", "schedule"
            )
        try:
            values[key] = float(value)
        except ValueError:
            values[key] = np.nan
        if not 0 <= values[key] < (np.inf if key == "warmup" else 1.0000001):
            wanted = "a number of steps" if key == "warmup" else "a share from 0 to 1"
            raise InputError(
                f"the schedule has {key}={value}: expected {wanted}, as in {EXAMPLE}", "schedule"
            )
    return Plan(kind, **values)
