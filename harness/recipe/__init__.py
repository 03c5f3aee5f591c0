"""The recipe of a run, which `run_id` hashes; its learning-rate schedule, parameter counts and FLOPs."""
