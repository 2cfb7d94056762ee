"""The `agent` command: parse, call one function, print. Nothing below imports from here."""

__all__ = ["app"]
