"""What the coordinator must not forget, in one SQLite file or on a PostgreSQL server."""

__all__ = ["copying", "opening", "place", "schema", "store"]
