"""The agent's adapter to Flower, private modules included; nothing else here imports flwr."""

__all__ = ["client_app", "link", "retry"]
