"""Devices of a simulation: the agent's own sessions, many in one process, each with its own home.

`app` is what coordinator.simulation names to Flower's actors; nothing imports it. No command leads here.
"""

__all__ = []
