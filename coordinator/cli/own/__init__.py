"""`coordinator task`: own tasks, whose file a coordinator needs as every device does."""

__all__ = ["commands"]
