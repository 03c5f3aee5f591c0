"""Replications of one experiment: how true and how sharp the stated intervals are."""
