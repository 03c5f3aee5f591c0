"""The additive law L = E + A·N^-alpha + B·D^-beta.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3.
"""

from analysis.laws.law import SIZE_AND_DATA, power_sum

LAWS = (power_sum("chinchilla", "E + A·N^-alpha + B·D^-beta", SIZE_AND_DATA, offset=True),)
