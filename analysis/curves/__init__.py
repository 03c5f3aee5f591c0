"""Curves of losses, and whole-curve laws fitted to them."""
