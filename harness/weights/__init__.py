"""Parameters of trained models: the file that keeps them, and what they are used for afterwards."""
