"""Decoder-only Transformers and the kernels of their training step."""
