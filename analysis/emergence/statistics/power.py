"""How often would the test have seen a jump, had there been one? Simulated for the grid and noise at hand."""

from __future__ import annotations

import numpy as np

from analysis.emergence.statistics.sharpness import Design, critical_value
from analysis.emergence.statistics.width import PER_SCALE

JUMP = 0.3  # decades, 10–90 % width of the simulated jump
CENTRES = (0.3, 0.7)  # of the range of sizes, within which it lies
DRAWS = 400
ENOUGH = 0.8  # below this a test that finds nothing proves nothing


def power(design: Design, drop: float, sd: float, level: float, seed: int, rng: np.random.Generator) -> float:
    """Share of jumps by `drop` in ln NLL that the ramp test finds at `level`.

    `sd` is the noise of one seed; the whole observed fall, `drop`, is taken to come in the jump.
    """
    x, span = design.x, float(np.ptp(design.x))
    centre = x[0] + span * rng.uniform(*CENTRES, DRAWS)[:, None]
    jump = drop / (1 + np.exp(-np.clip((x - centre) * PER_SCALE / JUMP, -500, 500)))
    noise = rng.standard_normal((DRAWS, len(x))) * sd / np.sqrt(design.weight)
    return float(np.mean(design.statistic(noise - jump) > critical_value(design, level, seed)))
