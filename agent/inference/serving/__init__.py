"""A model behind HTTP on this device: its server (`service`), and how long a client may take."""

__all__ = ["service"]
