"""Sweeps of a folder as local web pages: an index, and a page of each sweep that follows its runs."""
