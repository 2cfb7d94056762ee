"""Figures from counts that add up over batches, agents and rounds, and what they mean, as plain data."""

__all__ = [
    "boxes",
    "class_scores",
    "classification",
    "detection",
    "matching",
    "metric",
    "noisy",
    "outliers",
    "regression",
    "tallies",
    "views",
]
