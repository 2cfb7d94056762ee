"""Three ways to the same clipped sum of per-record gradients, and the optimiser that adds noise."""

__all__ = ["gradients", "mechanism", "opacus_parts"]
