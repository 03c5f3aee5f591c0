"""Averages over laws: what depends on the law is stated over all laws that the runs cannot exclude."""
