"""Execution of a recipe on devices: mesh, rematerialisation, micro-batches, memory; no part of `run_id`."""
