"""Evaluations on devices: `evaluation_rounds` asks for a sum of counts after a round, `counts` reads figures off it."""

__all__ = ["evaluation_rounds"]
