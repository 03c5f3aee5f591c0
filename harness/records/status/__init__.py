"""Status of the runs of a sweep, from its files alone."""
