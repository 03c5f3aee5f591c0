"""Decoder-only Transformers: layers, kernels, mixture of experts, and their sharding."""
