"""A model on the owner's held-out records: `tallying` adds up what single records add to a task's tally."""

__all__ = ["tallying"]
