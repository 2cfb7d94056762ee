"""What the coordinator must not forget, in one SQLite file."""

from coordinator.store.store import Store

__all__ = ["Store"]
