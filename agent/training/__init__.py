"""Differentially private training (DP-SGD): the only importer of Opacus on a device."""

__all__ = ["audit", "compute", "engines", "memory", "training"]
