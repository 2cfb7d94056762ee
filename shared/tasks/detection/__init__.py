"""Boxes around objects: networks of the YOLOv3 family, their loss, and what stands in a record's target."""

__all__ = []
