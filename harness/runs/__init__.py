"""The folder of a run: its state, its rows, and the tables collected from all of them."""
