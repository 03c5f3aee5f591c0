"""Laws against each other: rollout, adequacy, and every approach side by side."""
