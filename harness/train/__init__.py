"""Training of one trajectory: step, schedule, evaluation, checkpoints, loop."""
