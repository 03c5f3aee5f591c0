"""The whole analysis of a sweep, and its verdict in words."""
