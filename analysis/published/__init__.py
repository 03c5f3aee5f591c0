"""Published scaling data: which sets there are, how to get their files, and the refits that must come out."""
