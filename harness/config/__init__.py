"""Settings from YAML and the command line, checked once."""
