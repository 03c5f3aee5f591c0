"""JSON schemas of the files that sweeps, fits and imports leave, for programs in other languages."""
