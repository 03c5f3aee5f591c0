"""Predictions with intervals, sealed before the runs are trained and scored after."""
