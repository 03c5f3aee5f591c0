"""Power of the sup-F test against a jump on a slope, simulated for the sizes, seeds and noise at hand."""

from __future__ import annotations

import numpy as np

from analysis.emergence.statistics.shapes import logistic
from analysis.emergence.statistics.sharpness import JUMP, Design, critical_value

HELD = 2 / 3  # share of the observed fall that the simulated jump holds; a slope holds the rest
CENTRES = (0.3, 0.7)  # the jump is centred between these shares of the range of sizes
DRAWS = 400
ENOUGH = 0.8  # power below which a test that finds nothing proves nothing


def power(
    design: Design, fall: float, sd: float, significance: float, seed: int, rng: np.random.Generator
) -> float:
    """Return the share of simulated jumps that the sup-F test finds.

    Args:
        design: sizes and seeds.
        fall: fall of ln NLL from the smallest to the largest size.
        sd: standard deviation of ln NLL of one seed.
        significance: level of the test.
        seed: seed of the simulated null.
        rng: generator of the jumps and their noise.
    """
    x = design.x
    centre = x[0] + design.span * rng.uniform(*CENTRES, DRAWS)[:, None]
    slope = (1 - HELD) * fall * (x - x[0]) / design.span
    noise = rng.standard_normal((DRAWS, len(x))) * sd / design.root
    curves = noise - slope - HELD * fall * logistic(x, centre, JUMP)
    return float(np.mean(design.statistic(curves) > critical_value(design, significance, seed)))
