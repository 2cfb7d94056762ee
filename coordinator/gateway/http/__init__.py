"""The gateway's HTTP floor: bounded bodies, few connections, and the client for SuperLink."""

__all__ = ["loopback_http", "web"]
