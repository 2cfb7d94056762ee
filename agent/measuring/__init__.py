"""How long a graph takes on this device, how much memory, what energy: measured in a process of its own."""

__all__ = ["bench", "latency"]
