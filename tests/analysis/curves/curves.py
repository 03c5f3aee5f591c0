"""Tables of simulated curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.curves.schedule import Plan
from analysis.laws.annealing import CURVE_LAWS

KERNEL = (140.0 / 10_000, 0.44, 0.25)


def simulated(
    name: str,
    last: int,
    plan: Plan,
    *,
    size: float = 1e8,
    noise: float = 0.002,
    until: float | None = None,
    seed: int = 0,
    warp: float = 1.0,
) -> pd.DataFrame:
    """Rows every 100 steps of a run under the stretched law; losses behind `until` are left out."""
    steps = np.arange(100.0, last + 1, 100)
    schedule = plan.until(float(last))
    e, a = 2.0 + 1.0 * (size / 1e8) ** -0.1, 25.0 * (size / 1e8) ** -0.03 * warp
    loss = CURVE_LAWS["stretched"].loss([e, a, 0.5, 0.13, *KERNEL], schedule.at(steps))
    random = np.random.default_rng(seed)
    loss = loss * np.exp(noise * random.standard_normal(len(steps)) + 0.002 * random.standard_normal())
    loss = np.where(steps <= (until or last), loss, np.nan)
    return pd.DataFrame(
        {"run": name, "step": steps, "loss": loss, "lr": 3e-4 * plan.rates(steps, float(last)), "N": size}
    )
