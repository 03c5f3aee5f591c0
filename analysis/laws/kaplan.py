"""Power laws in one axis, L(N), L(D) and L(C), with and without an irreducible loss E.

References: Kaplan et al. 2020, arXiv:2001.08361, equations 1.1 to 1.3.
"""

from analysis.laws.law import Term, power_sum

_AXES = (
    ("kaplan_n", "A·N^-alpha", Term("A", "alpha", "n")),
    ("kaplan_d", "B·D^-beta", Term("B", "beta", "d")),
    ("kaplan_c", "K·C^-kappa", Term("K", "kappa", "c")),
)

LAWS = tuple(power_sum(name, formula, (term,), offset=False) for name, formula, term in _AXES) + tuple(
    power_sum(f"{name}_offset", f"E + {formula}", (term,), offset=True) for name, formula, term in _AXES
)
