"""Comparison of laws and approaches: contest by rollout, tests of adequacy, one table of all approaches."""
