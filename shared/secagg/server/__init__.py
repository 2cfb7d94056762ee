"""The coordinator's side of one attempt: `stages`, one class per stage."""

__all__ = ["stages"]
