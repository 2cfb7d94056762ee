"""COCO, Pascal VOC and YOLO folders, told apart and read (`layout`) into one form (`annotated`)."""

__all__ = ["annotated", "coco", "files", "layout", "voc", "yolo"]
