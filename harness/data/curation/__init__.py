"""Curation of raw text by datatrove: recipes, their stages, and the report of what was left out."""
