"""Power of the sup-F test against a jump, by Monte Carlo for the sizes, seeds and noise at hand."""

from __future__ import annotations

import numpy as np

from analysis.emergence.statistics.sharpness import Design, critical_value
from analysis.emergence.statistics.width import PER_SCALE

JUMP = 0.3  # decades, 10–90 % width of the simulated jump
CENTRES = (0.3, 0.7)  # the jump is centred between these shares of the range of sizes
DRAWS = 400
ENOUGH = 0.8  # power below which a test that finds nothing proves nothing


def power(
    design: Design, drop: float, sd: float, significance: float, seed: int, rng: np.random.Generator
) -> float:
    """Return the share of simulated jumps that the sup-F test finds.

    Args:
        design: sizes and seeds.
        drop: height of the jump in ln NLL.
        sd: standard deviation of ln NLL of one seed.
        significance: level of the test.
        seed: seed of the simulated null.
        rng: generator of the jumps and their noise.
    """
    x, span = design.x, float(np.ptp(design.x))
    centre = x[0] + span * rng.uniform(*CENTRES, DRAWS)[:, None]
    jump = drop / (1 + np.exp(-np.clip((x - centre) * PER_SCALE / JUMP, -500, 500)))
    noise = rng.standard_normal((DRAWS, len(x))) * sd / np.sqrt(design.weight)
    return float(np.mean(design.statistic(noise - jump) > critical_value(design, significance, seed)))
