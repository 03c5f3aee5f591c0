"""Corpora that are tokens already: files of many layouts as one stream, mapped from disk."""
