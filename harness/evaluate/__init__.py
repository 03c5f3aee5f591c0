"""Evaluation of a trained model: loss, test items of tasks, in-context learning."""
