"""What a trained model is asked: loss, tasks, in-context learning."""
