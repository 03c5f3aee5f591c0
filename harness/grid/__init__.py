"""From a grid to its cells, and by which rules a cell becomes a recipe."""
