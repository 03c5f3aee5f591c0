"""Hypothesis tests and estimators behind the verdicts on emergence."""
