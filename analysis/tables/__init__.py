"""Tables of losses: read, checked, with their noise."""
