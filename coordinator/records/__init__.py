"""What the coordinator remembers, as plain frozen values: no SQL, no I/O."""

__all__ = ["gallery", "records"]
