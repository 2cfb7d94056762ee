"""`agent rules`, and how rules and forwarding are fitted to what predicts for long."""

__all__ = ["at_work", "commands"]
