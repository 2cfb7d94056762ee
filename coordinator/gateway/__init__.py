"""The only door of the coordinator that the network can reach (docs/transport.md, "Gateway")."""

__all__ = ["counts", "server", "vocabulary"]
