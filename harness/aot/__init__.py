"""Steps compiled ahead of time, for devices not at hand."""
