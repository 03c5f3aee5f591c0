"""How a recipe is carried out on devices; no part of what a run is."""
