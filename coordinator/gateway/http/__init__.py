"""The gateway's HTTP floor: bounded bodies, few connections, work that is paid for, and the client for SuperLink."""

__all__ = ["listener", "loopback_http", "web"]
