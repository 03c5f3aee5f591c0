"""Refits of published data, one module a paper or kind."""
