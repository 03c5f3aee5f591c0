"""`python -m harness.bench`: how fast this machine trains each rung, alone and beside other decoders."""
