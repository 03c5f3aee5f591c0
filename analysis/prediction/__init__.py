"""Predictions of runs not trained yet: what a budget buys, and the loss of a size on so many tokens."""
