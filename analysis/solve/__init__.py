"""A law on a table as a problem of least squares or Huber losses, and its solvers."""
