"""Published scaling data: registry, download, and refits that must reproduce the published numbers."""
