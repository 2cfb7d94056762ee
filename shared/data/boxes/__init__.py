"""Pictures with boxes: COCO, Pascal VOC and YOLO folders (`layout`), brought to squares (`letterbox`) as a `schema` says."""

__all__ = ["letterbox", "reading", "schema"]
