"""`coordinator tune`: settings of a plan, tried where they cost nothing."""

__all__ = ["commands"]
