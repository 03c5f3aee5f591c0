"""Grids: their cells, the rules that give each cell its recipe, and packs of runs."""
