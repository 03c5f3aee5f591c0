"""From a grid to finished training runs and their tables; the analysis is called once, at the end."""
