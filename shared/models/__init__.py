"""The model as a product: one signed file, read strictly. No torch, no ONNX library."""

__all__ = ["graph", "known_answer", "manifest", "offer", "package"]
