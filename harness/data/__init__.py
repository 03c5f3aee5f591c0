"""Data: text and generated tasks as token files, their windows, and a source of known entropy rate."""
