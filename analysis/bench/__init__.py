"""Benchmark of the analysis against goals, and against SciPy."""
