"""What the coordinator must not forget, in one SQLite file."""

__all__ = ["schema", "store"]
