"""Learning rates as functions of width and depth: measured powers, or the exponents of a transfer rule."""

from __future__ import annotations

from harness.config.schema import OptimSettings

# Shape for which sweeps/optim states its learning rates.
REFERENCE_D_MODEL, REFERENCE_N_LAYERS = 64, 3


# Exponents of Adam's rates in width under the maximal update parametrisation (arXiv:2203.03466, table 3).
MUP_EXPONENTS = {"hidden": -1.0, "embed": 0.0, "head": -1.0, "gain": 0.0}


def width_rate(base: float, exponent: float, d_model: int) -> float:
    """Return the learning rate of a parameter group: base · (d_model / 64)^exponent.

    >>> width_rate(0.006, exponent=-1.0, d_model=128)
    0.003
    """
    return base * (d_model / REFERENCE_D_MODEL) ** exponent


def width_exponents(settings: OptimSettings) -> dict[str, float]:
    """Return the exponent in d_model of each group's learning rate.

    The exponents come from the settings if `transfer` is `measured`, and else from the transfer rule. Muon's
    update has a spectral norm that fits every width (`harness.engine.optim`), so its rate is constant under a
    transfer rule.
    """
    if settings.transfer == "measured":
        return settings.lr_exponent
    return MUP_EXPONENTS | ({"hidden": 0.0} if settings.name == "muon" else {})


def depth_factor(settings: OptimSettings, group: str, n_layers: int) -> float:
    """Return the factor (n_layers / 3)^exponent on the learning rate of a parameter group.

    References:
        Adam's rate of hidden matrices as 1/√depth: Yang et al., arXiv:2310.02244, table 1 (Depth-μP).
    """
    return float((n_layers / REFERENCE_N_LAYERS) ** settings.lr_depth_exponent[group])
