"""The live part of a report: its numbers, computed beforehand, and its charts as Vega specifications."""
