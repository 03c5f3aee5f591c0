"""Training of one run, with its files: loop, checkpoints, journal, packs and stopwatch."""
