"""Replications of an experiment: the whole sweep again with new seeds."""
