"""One training step on a mesh of devices; no files."""
