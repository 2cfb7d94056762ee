"""`coordinator doctor` and `agent doctor`: what is checked on any machine, and the way to the coordinator."""

__all__ = ["checks", "network"]
