"""Refits of published data, one module a paper or a kind of quantity."""
