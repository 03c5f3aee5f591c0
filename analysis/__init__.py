"""Fits, frontiers, forecasts and reports on tables of losses; no JAX, nothing of harness but `records`."""
