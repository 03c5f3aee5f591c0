"""The quadrature law L = E + (A·N^-alpha + B·D^-beta)^(1/2): losses from size and data add in squares.

With infinite D a plain power law sqrt(A)·N^(-alpha/2) above E remains, with infinite N sqrt(B)·D^(-beta/2).
If both terms matter, the larger one rules, as in the joint law, whose power is free. A free power and E trade
off so closely that few runs tell them apart; this law fixes the power and asks the runs for E.
"""

from analysis.laws.law import SIZE_AND_DATA, power_sum

LAWS = (power_sum("quadrature", "E + (A·N^-alpha + B·D^-beta)^(1/2)", SIZE_AND_DATA, offset=True, power=0.5),)
