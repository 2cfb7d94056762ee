"""The event log: one JSON line per event; its schema, its search, its tail."""

__all__ = ["log", "search", "tail"]
