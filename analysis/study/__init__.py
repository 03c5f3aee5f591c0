"""The whole analysis of a sweep and its words."""
