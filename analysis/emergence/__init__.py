"""Emergence: is a jump in exact match a property of the model or of the metric? A verdict for each task."""
