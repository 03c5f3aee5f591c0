"""`python -m harness.bench`: training speed of each rung here, alone and against other decoders."""
