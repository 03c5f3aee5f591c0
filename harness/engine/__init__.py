"""The training step on a device mesh: gradients, optimisers, loss scale, processes; no files."""
