"""The page that `coordinator serve` shows: read-only, on loopback or behind a token."""

from coordinator.dashboard.server import PageAddress, dashboard

__all__ = ["PageAddress", "dashboard"]
