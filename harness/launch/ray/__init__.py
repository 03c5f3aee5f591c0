"""Launcher for a Ray cluster."""
