"""Figures from counts that add up over batches, agents and rounds."""

__all__ = ["classification"]
