"""Learning-rate sweeps: curves, optima, rules in width and tokens; comparison of schedules."""
