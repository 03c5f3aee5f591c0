"""The over-training law L = E + (A·M^eta + B·M^-eta)·C^-eta with M = D/N tokens per parameter.

At a fixed M the loss is a power law in C, with the same exponent for every M. Written with A·(C/M)^-eta and
B·(C·M)^-eta it is a sum of two terms; under C = 6·N·D these are powers of N and of D with the exponent 2·eta.

References: Gadre et al. 2024, arXiv:2403.08540, equation 4.
"""

from analysis.laws.law import Term, power_sum

TERMS = (Term("A", "eta", "c/m"), Term("B", "eta", "c*m"))

LAWS = (power_sum("overtraining", "E + (A·M^eta + B·M^-eta)·C^-eta, M = D/N", TERMS, offset=True),)
