"""Answers that are no labels: numbers in their units, how odd a record is, and from which score on."""

__all__ = ["numbers", "thresholds"]
