"""One agent's side of one attempt: `session`, over one class per state."""

__all__ = ["policy", "session"]
