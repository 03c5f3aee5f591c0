"""The plan of a sweep: its cells, cost, memory and time before anything is trained."""
