"""Tasks on recordings of sound, alone or beside pictures."""

__all__ = ["command", "graph", "multimodal"]
