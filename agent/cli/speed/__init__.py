"""`agent bench` and `agent optimize`: how fast a model is on this device, and a smaller one of it."""

__all__ = ["bench", "optimize"]
