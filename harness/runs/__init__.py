"""Folders of runs: state, rows of points, and the tables collected from all runs."""
