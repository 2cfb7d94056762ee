"""`coordinator model verify`: the checks that a device makes before it runs a model. No torch, no ONNX."""

from pathlib import Path
from typing import Any

from edgeveil.coordinator.plan.config import identity_path
from edgeveil.shared.base.errors import ModelError
from edgeveil.shared.models import graph
from edgeveil.shared.models.package import check_signer, parse_key, read_package
from edgeveil.shared.wire.identity import Identity


def verify(file: Path, home: Path, trust: str | None) -> dict[str, Any]:
    """Who signed, and whether that was asked for; `trust` outweighs the coordinator of `home`.

    Raises:
        ModelError: damaged, or with a graph that no device runs.
        ModelUntrusted: signed by somebody else.
    """
    found = read_package(file)
    whose = "unknown here; --trust KEY names one"
    if trust is not None:
        whose = "the key of --trust"
        check_signer(found, parse_key(trust), whose)
    elif identity_path(home).exists():
        whose = "this coordinator"
        check_signer(found, Identity.load(identity_path(home)).public, whose)
    try:
        operators = graph.check(found.model, graph.Wanted.of(found.manifest))
    except ValueError as error:
        raise ModelError(f"{file}: this model package cannot be used: {error}") from error
    return {
        "model": found.digest,
        "signer": found.signer.hex(),
        "whose": whose,
        "operators": sorted(operators),
    }
