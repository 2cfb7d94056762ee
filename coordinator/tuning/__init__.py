"""Settings tried on public or simulated data before a device's budget pays for any: a study, its page, its plan."""

__all__ = ["page", "tune", "words"]
