"""Designs: what a grid of runs will tell, before it is trained, and which further cells tell most."""
