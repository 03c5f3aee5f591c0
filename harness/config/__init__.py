"""Settings of a sweep: composed from YAML and the command line, and validated once."""
