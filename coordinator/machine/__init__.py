"""One attempt of one round as a pure machine, alone or in shards, and what it needs of a transport."""

__all__ = ["attempt", "drop_reasons", "machine", "preflight", "shards", "transport"]
