"""Tables of losses: reading, checks of every row, noise between seeds."""
