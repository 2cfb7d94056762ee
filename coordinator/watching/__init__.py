"""What only looks at a running coordinator: live state, metrics, page. It cannot hold up a round."""

__all__ = ["live", "waiting", "watchers"]
