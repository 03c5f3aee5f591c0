"""Text larger than memory into tokens: in pieces, by several processes, and on from where a kill left off."""
