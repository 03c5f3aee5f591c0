"""Tracking of a running sweep: progress, copies for trackers, time of workers."""
