"""A frozen network that somebody else trained, as public image features: its file, its layers, its numbers."""

__all__ = ["asset", "embedding", "graph", "photos"]
