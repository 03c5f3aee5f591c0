"""Launcher for a Slurm cluster."""
