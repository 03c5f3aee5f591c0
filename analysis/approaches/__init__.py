"""The ways from losses to exponents: parametric, IsoFLOP, envelope, Kaplan."""
