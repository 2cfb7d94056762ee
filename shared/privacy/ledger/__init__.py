"""What a ledger's records mean: their form, their order, their sum. No files."""

__all__ = ["bookmark", "facts", "heads", "note", "records", "replay", "state"]
