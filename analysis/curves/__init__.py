"""Curves of losses: whole-curve laws fitted to them, and forecasts of where an unfinished run ends."""
