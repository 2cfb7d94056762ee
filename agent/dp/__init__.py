"""Differential privacy on the device; the only importers of Opacus."""
