"""Comparison of laws and approaches: weights, rollouts beside them, one table of all approaches."""
