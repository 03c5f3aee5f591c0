"""The joint law L = E + (A·N^-alpha + B·D^-beta)^gamma, with E free (`joint`) or 0 (`joint_e0`).

gamma = 1 is the additive law. With E = 0 and beta = 1 it is Kaplan's joint form (`kaplan_joint`),
[(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D: gamma = alpha_D, alpha = alpha_N/alpha_D, A = N_c^alpha, B = D_c.

References: Kaplan et al. 2020, arXiv:2001.08361, equation 1.5.
"""

from dataclasses import replace

from analysis.laws.law import SIZE_AND_DATA, power_sum

WITHOUT_E = power_sum("joint_e0", "(A·N^-alpha + B·D^-beta)^gamma", SIZE_AND_DATA, offset=False, gamma=True)

LAWS = (
    power_sum("joint", "E + (A·N^-alpha + B·D^-beta)^gamma", SIZE_AND_DATA, offset=True, gamma=True),
    WITHOUT_E,
    replace(
        WITHOUT_E,
        name="kaplan_joint",
        formula="(A·N^-alpha + B/D)^gamma",
        bounds={**WITHOUT_E.bounds, "beta": (1.0, 1.0)},
    ),
)
