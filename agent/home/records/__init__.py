"""What the owner's records are declared as (`record_policy`), and what the newest start found of them (`usable`)."""

__all__ = ["record_policy", "usable"]
