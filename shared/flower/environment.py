"""Flower's switches, set before its first import: no telemetry, no update check, no installer.

Flower reads them when it is imported, so every module that imports flwr imports this one first.
A variable an operator sets by hand doesn't win: calling home is not a preference here.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

SET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
REMOVED = (
    "FLWR_OIDC_ENABLED",
    "FLWR_INTERNAL_GRPC_CONTROL_API",
    "FLWR_INTERNAL_GRPC_FLEET_API",
    "FLWR_DATABASE",
    "FLWR_ENABLE_EVENT_LOG",
    "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE",
)


def quieten(environment: MutableMapping[str, str]) -> None:
    environment.update(SET)
    for name in REMOVED:
        environment.pop(name, None)


def child_environment(home: Path) -> dict[str, str]:
    """For the SuperLink: our environment, quietened, with Flower's own files under `home`."""
    environment = dict(os.environ)
    quieten(environment)
    environment["FLWR_HOME"] = str(home)
    return environment


quieten(os.environ)
