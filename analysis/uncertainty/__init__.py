"""Uncertainty of estimates: bootstrap, covariance, profile, identifiability, warnings of the table."""
