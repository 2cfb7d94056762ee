"""Boxes around objects: networks of the YOLOv3 family, their loss, and what stands in a record's target; `two_stage` is another one."""

__all__ = []
