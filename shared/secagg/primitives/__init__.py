"""Encodings, keys, shares, masks and lanes: what both sides compute with."""

__all__ = [
    "canonical",
    "errors",
    "keys",
    "mask",
    "parameters",
    "ring",
    "sealing",
    "shamir",
    "solver",
]
