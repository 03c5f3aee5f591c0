"""Runs that other programs logged: charts of W&B, events of TensorBoard, stores of MLflow, printed logs."""
