"""The coordinator's privacy report of a run: what it asked for, saw and can know. No torch."""

__all__ = ["page", "report"]
