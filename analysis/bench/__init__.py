"""Times of the analysis against its goals."""
