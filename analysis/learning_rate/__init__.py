"""Learning rates: curves, optima, rules over width, schedules against each other."""
