"""The agent's adapter to Flower, private modules included; only agent.client_app imports flwr beside it."""

from agent.flower_link.link import FlowerLink
from agent.flower_link.retry import SessionOver

__all__ = ["FlowerLink", "SessionOver"]
