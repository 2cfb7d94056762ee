"""Before a run begins: answers whether this device would accept all of a plan."""

__all__ = ["answering"]
