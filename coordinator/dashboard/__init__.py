"""The page that `coordinator serve` shows: read-only, on loopback or behind a token."""

from coordinator.dashboard.server import Dashboard, PageAddress

__all__ = ["Dashboard", "PageAddress"]
