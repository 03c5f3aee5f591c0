"""Approaches, from losses to exponents: parametric, IsoFLOP, envelope, Kaplan."""
