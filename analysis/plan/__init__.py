"""What to train: a budget, a size, tokens, a loss, hours or money become one run with its shape and rates."""
