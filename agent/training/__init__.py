"""Differentially private training (DP-SGD): the only importer of Opacus on a device."""

__all__ = ["auditing", "compute", "conforming", "engines", "evaluating", "memory", "training"]
