"""Sealed forecasts: predictions with intervals, written before the runs are trained and scored after."""
