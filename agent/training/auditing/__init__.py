"""What of a training's claim an attack on it can show: records of our own making, and what gives them away."""

__all__ = ["audit"]
