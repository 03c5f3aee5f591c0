"""The additive law with one exponent for size and data, L = E + A·N^-alpha + B·D^-alpha.

Then N* and D* grow alike (a = b = 1/2). The flat-valley warning compares a fit with this law.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3, equation 2, with alpha = beta.
"""

from analysis.laws.law import Term, power_sum

TERMS = (Term("A", "alpha", "n"), Term("B", "alpha", "d"))

LAWS = (power_sum("tied", "E + A·N^-alpha + B·D^-alpha", TERMS, offset=True),)
