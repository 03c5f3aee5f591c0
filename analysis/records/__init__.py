"""Typed records of the JSON files that the analysis writes and reads."""
