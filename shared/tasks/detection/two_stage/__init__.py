"""Boxes in two stages (Faster R-CNN): where something might be, then what it is. Pictures go through it one at a time."""

__all__ = []
