"""The joint law L = E + (A·N^-alpha + B·D^-beta)^gamma, with E free (`joint`) or 0 (`joint_e0`).

gamma = 1 is the additive law; E = 0 and gamma = alpha_D is Kaplan's joint form
[(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D with beta left free.

References: Kaplan et al. 2020, arXiv:2001.08361, equation 1.5.
"""

from analysis.laws.law import SIZE_AND_DATA, power_sum

LAWS = (
    power_sum("joint", "E + (A·N^-alpha + B·D^-beta)^gamma", SIZE_AND_DATA, offset=True, gamma=True),
    power_sum("joint_e0", "(A·N^-alpha + B·D^-beta)^gamma", SIZE_AND_DATA, offset=False, gamma=True),
)
