"""Minimisation of a law on a table under least squares or Huber's loss, for many problems at once."""
