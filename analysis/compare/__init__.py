"""Two recipes against each other: compute multipliers at equal loss, with paired intervals."""
