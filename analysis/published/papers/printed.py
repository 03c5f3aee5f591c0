"""Numbers that the authors of the published sets print, by quantity."""

# Constants of the additive law E + A·N^-alpha + B·D^-beta. Hoffmann et al. 2022, arXiv:2203.15556, section
# 3.3, in the digits of Pearce & Song. Besiroglu et al. 2024, arXiv:2404.10102, by least absolute deviations
# with a free scale.
HOFFMANN = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}
BESIROGLU = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}

# Besiroglu et al. 2024: the fit by the sum of the Huber loss on 240 points with bootstrap standard errors,
# and the fit by least absolute deviations.
EPOCH = {
    "huber E": 1.81724,
    "huber A": 477.84,
    "huber B": 2143.86,
    "huber alpha": 0.34731,
    "huber beta": 0.36718,
    "huber a": 0.513,
    "huber objective": 1.0183e-3,
    "se E": 0.0257,
    "se alpha": 0.0154,
    "se beta": 0.0206,
    "se a": 0.020,
    "lad E": 1.8169,
    "lad A": 482.01,
    "lad B": 2085.43,
    "lad alpha": 0.3478,
    "lad beta": 0.3658,
    "lad log-likelihood": 879.77,
}

# Gadre et al. 2024, arXiv:2403.08540, by training corpus: L = E + (A·M^eta + B·M^-eta)·C^-eta on C4, and
# error = epsilon - k·exp(-gamma·L) over 17 tasks. The errors of the two predictions are in percent.
_GADRE_NAMES = ("E", "A", "B", "eta", "epsilon", "k", "gamma")
_GADRE_FITS = {
    "c4_original": (1.51, 141, 190, 0.121, 0.850, 2.08, 0.756),
    "rpj": (1.84, 212, 367, 0.136, 0.857, 2.21, 0.715),
    "rw_original": (1.73, 157, 246, 0.127, 0.865, 2.21, 0.707),
}
GADRE = {
    f"{corpus} {name}": value
    for corpus, values in _GADRE_FITS.items()
    for name, value in zip(_GADRE_NAMES, values, strict=True)
} | {"rpj open_lm_1b at M=640": 0.7103, "rpj open_lm_7b at M=20": 0.7320}

# Exponents of N in C: regressions on the four stored optima, and the exponents that the log states.
NANOCHAT = {
    "optima, kaplan_style": 0.524,
    "optima, chinchilla_style": 0.366,
    "optima, transformer_only": 0.681,
    "runs, kaplan_style": 0.54,
    "runs, chinchilla_style": 0.37,
    "runs, transformer_only": 0.70,
}

# Dey et al. 2023, arXiv:2304.03208: L(C) = (C/C_c)^-kappa + E.
CEREBRAS = {"kappa": 0.0737, "E": 0.5066, "C_c": 5.984e22}

# Exponents of N in C. The first four are reference readings of the FineWeb-Edu loss at 35 stored checkpoints.
# The last two are those of McLeish et al. 2025, arXiv:2502.06857, on their own validation loss and with many
# more checkpoints.
GEMSTONES = {
    "hull, all checkpoints": 0.503,
    "hull, from 100B tokens on": 0.791,
    "bins, all checkpoints": 0.60,
    "bins, from 100B tokens on": 0.89,
    "their loss, up to 100B tokens": 0.499,
    "their loss, above 120B tokens": 0.799,
}

# Pearce & Song 2024, arXiv:2406.12907: exponents of N_body in C_body = 6·N_body·D under both additive laws.
PEARCE = {"Besiroglu's constants": 0.788, "Hoffmann's constants": 0.751}

# LAMBADA of Pythia, read off the published evaluations (Biderman et al. 2023, arXiv:2304.01373). `slope` and
# `r2` regress ln accuracy on ln(1/perplexity) over all steps with a perplexity below 3,000. `width` (decades)
# and `breakthroughness` (Srivastava et al. 2022, arXiv:2206.04615) are along N at the last step.
PYTHIA = {"slope": 0.358, "r2": 0.993, "width": 3.0, "breakthroughness": 17.9}

# Luo et al. 2025, arXiv:2503.12811, by million parameters: E, A, alpha, B, C, beta and gamma of the law, and
# means of its test metrics over six curves.
MULTI_POWER_PARAMETERS = {
    25: (3.04045, 0.52469, 0.50787, 363.788, 2.06561, 0.58279, 0.64142),
    100: (2.65145, 0.60115, 0.45296, 437.946, 2.13246, 0.59785, 0.65524),
    400: (2.37474, 0.65421, 0.42879, 523.425, 2.02463, 0.59350, 0.63472),
}
MULTI_POWER = {
    f"{size}M {metric}": value
    for size, values in {
        25: (0.9988, 0.00376, 0.00465, 0.00110, 0.00409),
        100: (0.9983, 0.00435, 0.00592, 0.00142, 0.00583),
        400: (0.9978, 0.00484, 0.00730, 0.00168, 0.00995),
    }.items()
    for metric, value in zip(
        ("R2", "MAE", "RMSE", "mean relative error", "worst relative error"), values, strict=True
    )
}
