"""The cost of an untuned learning rate: how much loss the rate of the recipe gives away."""

from __future__ import annotations

import numpy as np

from analysis.learning_rate.curve import Parabola, RateCurve
from analysis.tables.seed_noise import Noise


def recipe_cost(
    curve: RateCurve, parabola: Parabola | None, noise: Noise
) -> tuple[float | None, float | None]:
    """Return the loss of the recipe's rate above the best, in %, with its standard error.

    The parabola gives it inside its window, the measured losses elsewhere. If the lowest measured loss lies
    at an end of the rates, the result is a lower bound.
    """
    if parabola and parabola.window[0] <= curve.recipe_rate <= parabola.window[1]:
        excess, error = parabola.cost(curve.recipe_rate, noise)
        return 100 * excess, 100 * error
    at_recipe = curve.losses[curve.rates == curve.recipe_rate]
    if not len(at_recipe):
        return None, None
    best = parabola.loss if parabola else curve.losses.min()
    error = noise.sd * np.sqrt(2 / max(int((curve.rate == curve.recipe_rate).sum()), 1))
    return 100 * float(at_recipe[0] / best - 1), 100 * float(error)
