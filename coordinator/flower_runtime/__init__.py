"""The coordinator's adapter to Flower, private modules included; nothing else here imports flwr."""

__all__ = ["child_process", "runtime"]
