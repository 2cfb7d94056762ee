"""The model as a product: one signed file, read strictly. No torch, no ONNX library."""

__all__ = ["given", "graph", "known_answer", "manifest", "offer", "origin", "package", "taken"]
