"""Emergence: tests whether a jump in exact match is one of the model or of the metric, task by task."""
