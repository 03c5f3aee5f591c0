"""Tests and estimates behind a verdict on a jump."""
