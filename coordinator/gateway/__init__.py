"""The only door of the coordinator that the network can reach (docs/transport.md, "Gateway")."""

from coordinator.gateway.server import Gateway
from coordinator.gateway.vocabulary import GatewaySettings

__all__ = ["Gateway", "GatewaySettings"]
